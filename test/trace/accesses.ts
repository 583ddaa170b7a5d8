/** Traces of accesses for tests: rows as plain values, and records put together by hand. */
import type { AccessSource, SpaceEvent } from '../../src/trace/access.ts';
import { KINDS } from '../../src/trace/access.ts';

export type Row = readonly [kind: string, address: number, size: number] | SpaceEvent;

/** All that a trace says, in order. Closes it. */
export function accessRows(source: AccessSource): Row[] {
  const out: Row[] = [];
  try {
    for (let batch = source.next(); batch !== null; batch = source.next()) {
      for (let i = 0; i < batch.count; i++)
        out.push([KINDS[batch.kind[i]] as string, batch.address[i], batch.size[i]] as const);
      if (batch.event !== null) out.push(batch.event);
    }
  } finally {
    source.close();
  }
  return out;
}

/** DynamoRIO records: type, size, address. */
export function drRecords(records: readonly (readonly [type: number, size: number, address: bigint])[]): Buffer {
  const bytes = Buffer.alloc(records.length * 12);
  for (const [i, [type, size, address]] of records.entries()) {
    bytes.writeUInt16LE(type, i * 12);
    bytes.writeUInt16LE(size, i * 12 + 2);
    bytes.writeBigUInt64LE(address, i * 12 + 4);
  }
  return bytes;
}

/** ChampSim records: instruction, stores, loads. */
export function champsimRecords(
  records: readonly (readonly [ip: bigint, stores: readonly bigint[], loads: readonly bigint[]])[],
): Buffer {
  const bytes = Buffer.alloc(records.length * 64);
  for (const [i, [ip, stores, loads]] of records.entries()) {
    bytes.writeBigUInt64LE(ip, i * 64);
    bytes[i * 64 + 8] = i % 2;
    bytes[i * 64 + 12] = 200;
    stores.forEach((a, n) => {
      bytes.writeBigUInt64LE(a, i * 64 + 16 + n * 8);
    });
    loads.forEach((a, n) => {
      bytes.writeBigUInt64LE(a, i * 64 + 32 + n * 8);
    });
  }
  return bytes;
}

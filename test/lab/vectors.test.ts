/** Reads, writes and loads through mappings recorded on Linux 6.18: every readahead decision and every folio, in order. */
import { readFileSync } from 'node:fs';
import { describe, expect, inject, it } from 'vitest';
import { VM_EXEC, VM_HUGEPAGE, VM_RAND_READ, VM_SEQ_READ } from '../../src/mm/vma.ts';
import { collect, type FileWorld, fileWorld, type TraceEvent } from './file_world.ts';

interface Vector {
  readonly kind: string;
  readonly fs: string;
  readonly min_order: number;
  readonly max_order: number;
  readonly ra_pages: number;
  readonly io_pages: number;
  readonly size: number;
  /** Of a mapping: letters for SEQ_READ, RAND_READ, HUGEPAGE, EXEC. */
  readonly vma_flags?: string;
  readonly ops: readonly [string, number, number][];
  readonly events: readonly TraceEvent[];
}

const path = new URL('../../golden/linux-6.18/vectors.jsonl', import.meta.url);
const vectors = readFileSync(path, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Vector);
const files = vectors.filter((v) => v.kind !== 'mmap');
const mapped = vectors.filter((v) => v.kind === 'mmap');
const FLAGS: Record<string, number> = { S: VM_SEQ_READ, R: VM_RAND_READ, H: VM_HUGEPAGE, X: VM_EXEC };

const worldOf = (v: Vector): FileWorld =>
  fileWorld({
    fs: v.fs.startsWith('xfs') ? 'xfs' : 'ext4',
    size: v.size,
    minOrder: v.min_order,
    maxOrder: v.max_order,
    raPages: v.ra_pages,
    ioPages: v.io_pages,
  });

describe('recorded scenarios of reads and writes', () => {
  it('are all there', () => expect(files.length).toBe(152));
  it('run on the layout of the memory map that this run is for', () => {
    expect(worldOf(files[0] as Vector).m.map.layout).toBe(inject('memmap') ?? 'overlay');
  });
  files.forEach((v, i) => {
    it(`${i + 1}: ${v.kind} on ${v.fs}, ${v.ops.length} operations`, () => {
      const w = worldOf(v);
      const events = collect(w.m);
      for (const [op, pos, length] of v.ops) {
        if (op === 'r') w.read(pos, length);
        else w.write(pos, length);
      }
      expect(events).toEqual(v.events);
    });
  });
});

describe('recorded scenarios of loads through a mapping', () => {
  it('are all there', () => expect(mapped.length).toBe(28));
  mapped.forEach((v, i) => {
    it(`${i + 1}: flags '${v.vma_flags}' on ${v.fs}, ${v.ops.length} loads`, () => {
      const w = worldOf(v);
      const events = collect(w.m);
      const map = w.map([...(v.vma_flags as string)].reduce((flags, letter) => flags | (FLAGS[letter] as number), 0));
      for (const [, page] of v.ops) map.touch(page);
      expect(events).toEqual(v.events);
    });
  });
});

/**
 * A program that is killed at any moment: it writes records through a cache into a file and says on its output which of them
 * it has been told are synced. `crash_child.ts FILE SEED`.
 */
import { Prng } from '../../src/base/prng.ts';
import { PageCache } from '../../src/cache/index.ts';
import { fileSource } from '../../src/cache/node/file.ts';

export const RECORD_BYTES = 1000;
export const RECORDS = 4000;

/** Record `place` as of its `version`-th write: every byte tells both. */
export function record(place: number, version: number): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  for (let i = 0; i < RECORD_BYTES; i++) bytes[i] = Math.imul(place * 31 + version * 7 + i, 0x9e3779b1) >>> 24;
  new DataView(bytes.buffer).setUint32(0, version);
  return bytes;
}

async function main(path: string, seed: number): Promise<void> {
  const r = new Prng(seed);
  const cache = new PageCache({ memory: '2MiB' });
  const source = fileSource(path, { create: true });
  const sync = seed % 2 === 0;
  const file = sync ? cache.openSync(source) : await cache.open(source);
  const versions = new Uint32Array(RECORDS);
  for (;;) {
    const places = Array.from({ length: r.between(1, 200) }, () => r.below(RECORDS));
    for (const place of places) {
      const version = (versions[place] as number) + 1;
      versions[place] = version;
      if (sync) file.writeSync(record(place, version), place * RECORD_BYTES);
      else await file.write(record(place, version), place * RECORD_BYTES);
    }
    if (sync) file.syncSync();
    else await file.sync();
    const said = places.map((place) => `${place}:${versions[place]}`).join(' ');
    await new Promise<void>((resolve) => process.stdout.write(`${said}\n`, () => resolve()));
  }
}

const [path, seed] = process.argv.slice(2);
if (path !== undefined && process.argv[1]?.endsWith('crash_child.ts')) await main(path, Number(seed));

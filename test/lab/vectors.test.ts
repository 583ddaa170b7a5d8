/** Reads and writes recorded on Linux 6.18: every readahead decision and every folio, in order. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { collect, fileWorld, type TraceEvent } from './file_world.ts';

interface Vector {
  readonly kind: string;
  readonly fs: string;
  readonly min_order: number;
  readonly max_order: number;
  readonly ra_pages: number;
  readonly io_pages: number;
  readonly size: number;
  readonly ops: readonly [string, number, number][];
  readonly events: readonly TraceEvent[];
}

const path = new URL('../../golden/linux-6.18/vectors.jsonl', import.meta.url);
const vectors = readFileSync(path, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Vector)
  .filter((v) => v.kind !== 'mmap');

describe('recorded scenarios of reads and writes', () => {
  it('are all there', () => expect(vectors.length).toBe(152));
  vectors.forEach((v, i) => {
    it(`${i + 1}: ${v.kind} on ${v.fs}, ${v.ops.length} operations`, () => {
      const w = fileWorld({
        fs: v.fs.startsWith('xfs') ? 'xfs' : 'ext4',
        size: v.size,
        minOrder: v.min_order,
        maxOrder: v.max_order,
        raPages: v.ra_pages,
        ioPages: v.io_pages,
      });
      const events = collect(w.m);
      for (const [op, pos, length] of v.ops) {
        if (op === 'r') w.read(pos, length);
        else w.write(pos, length);
      }
      expect(events).toEqual(v.events);
    });
  });
});

/** Slabs of descriptors: random takes and gives of all kinds against a plain model of objects, slabs and bytes. */
import { describe, expect, test } from 'vitest';
import {
  allocFromPcs,
  checkDescriptors,
  type Descriptors,
  descriptorBytes,
  freeToPcs,
  KIND_COUNTS,
  KIND_FOLIO,
  KIND_FOLIO_LARGE,
  KIND_PTDESC,
  KIND_SLAB,
  KIND_ZPDESC,
  memdescGive,
  memdescTake,
} from '../../src/mm/memdesc_slab.ts';
import { MemoryMap, memoryMapBytes } from '../../src/mm/memory_map.ts';
import { fuzz, type Op, seedOf, stepsOf } from '../help/fuzz.ts';

const PAGE = 4096;
const FRAMES = 4096;
const kinds = [KIND_FOLIO, KIND_FOLIO_LARGE, KIND_PTDESC, KIND_ZPDESC, KIND_SLAB, KIND_COUNTS + 2, KIND_COUNTS + 9];
const words = new Map([
  [KIND_FOLIO, 20],
  [KIND_FOLIO_LARGE, 32],
  [KIND_SLAB, 16],
  [KIND_PTDESC, 16],
  [KIND_ZPDESC, 16],
  [KIND_COUNTS + 2, 8],
  [KIND_COUNTS + 9, 1024],
]);
const size = (kind: number): number => words.get(kind) as number;

/** Bytes of the slabs, told by the pages that belong to one. */
function bytesByPage(d: Descriptors): number {
  let pages = 0;
  for (let row = 0; row < d.nr; row++) {
    const kind = d.kind[row] as number;
    if (kind >= 0) pages += 2 ** (d.caches[kind]?.shape.order as number);
  }
  return pages * PAGE;
}

class Model {
  readonly map = new MemoryMap('memdesc8', FRAMES, 9, PAGE);
  /** First word of an object in use: its kind, and what is written in all its words. */
  readonly objects = new Map<number, { kind: number; mark: number }>();
  mark = 0;

  take(kind: number): void {
    const w = memdescTake(this.map, this.map.descriptors, kind);
    if (w < FRAMES * this.map.pageWords || w % 4 !== 0 || w + size(kind) > this.map.length)
      throw new Error(`an object at ${w}: not behind the page records, or not in a unit of 16 bytes`);
    if (this.objects.has(w)) throw new Error(`the object at ${w} is in use`);
    this.map.fill(++this.mark, w, w + size(kind));
    this.objects.set(w, { kind, mark: this.mark });
  }
  give(nth: number): void {
    const all = [...this.objects];
    const found = all[nth % Math.max(all.length, 1)];
    if (found === undefined) return;
    const [w, { kind, mark }] = found;
    // Nobody else wrote to it: no two objects overlap.
    for (let i = w; i < w + size(kind); i++) if (this.map[i] !== mark) throw new Error(`word ${i - w} is not ${mark}`);
    this.objects.delete(w);
    memdescGive(this.map, this.map.descriptors, w);
  }
  check(): void {
    const d = this.map.descriptors;
    checkDescriptors(this.map, d);
    const own = d.caches.reduce((n, c, kind) => n + (kind === KIND_SLAB ? 0 : c.slabs), 0);
    for (const kind of kinds) {
      let n = [...this.objects.values()].filter((o) => o.kind === kind).length;
      // Every slab but those of slab descriptors has a descriptor of its own.
      if (kind === KIND_SLAB) n += own;
      if (d.caches[kind]?.inUse !== n) throw new Error(`kind ${kind}: ${d.caches[kind]?.inUse} in use, not ${n}`);
    }
    if (descriptorBytes(d) !== bytesByPage(d)) throw new Error('bytes are those of the slabs');
  }
}

describe('slabs of descriptors', () => {
  test.each([1, 2, 3, 4])('random takes and gives of all kinds, seed + %i', (n) => {
    const seed = seedOf(20261121) + n;
    const run = (ops: readonly Op[]): void => {
      const model = new Model();
      ops.forEach(([name, arg], i) => {
        if (name === 'take') model.take(arg as number);
        else model.give(arg as number);
        if (i % 64 === 0) model.check();
      });
      while (model.objects.size > 0) model.give(0);
      model.check();
    };
    let filling = true;
    let step = 0;
    fuzz(
      seed,
      stepsOf(3000),
      (r) => {
        if (step++ % 400 === 0) filling = r.below(2) === 0;
        return r.below(100) < (filling ? 75 : 35) ? ['take', r.pick(kinds)] : ['give', r.below(1000)];
      },
      run,
    );
  });

  test('slabs that are empty go, but the last of each kind; their pages are used again', () => {
    const { map } = new Model();
    const d = map.descriptors;
    const fill = (): number => {
      const taken = Array.from({ length: 500 }, () => memdescTake(map, d, KIND_FOLIO));
      expect(new Set(taken).size).toBe(500);
      expect(memoryMapBytes(map)).toBe(FRAMES * 8 + descriptorBytes(d));
      for (const w of taken) memdescGive(map, d, w);
      return d.top;
    };
    const top = fill();
    // 51 objects of 80 bytes in a page of 4096; one slab of them and one of slab descriptors stay.
    expect(descriptorBytes(d)).toBe(2 * PAGE);
    for (let i = 0; i < 20; i++) expect(fill()).toBe(top);
    expect((top - d.start) / d.page).toBe(Math.ceil(500 / 51) + 1);
  });

  test('a descriptor that was given back still reads as one without flags and references', () => {
    const { map } = new Model();
    const w = memdescTake(map, map.descriptors, KIND_FOLIO);
    map.fill(0, w, w + 20);
    memdescGive(map, map.descriptors, w);
    // What may have changed is `private` alone, which has the free pointer.
    for (let i = 0; i < 20; i++) if (i !== 10) expect([i, map[w + i]]).toEqual([i, 0]);
  });

  test('where there is no room left, an error says what it needs', () => {
    const map = new MemoryMap('memdesc8', 16, 2, PAGE);
    expect(() => {
      for (;;) memdescTake(map, map.descriptors, KIND_COUNTS + 9);
    }).toThrow(/descriptors need more than \d+ bytes: expected a smaller machine, or larger folios/);
    checkDescriptors(map, map.descriptors);
  });

  test('the sheaf: what was given back last is taken first, half a sheaf comes and goes, and only its own kind', () => {
    const { map } = new Model();
    const d = map.descriptors;
    const taken = Array.from({ length: 300 }, () => allocFromPcs(map, d));
    expect(new Set(taken).size).toBe(300);
    checkDescriptors(map, d);
    freeToPcs(map, d, taken[7] as number);
    expect(allocFromPcs(map, d)).toBe(taken[7]);
    const large = memdescTake(map, d, KIND_FOLIO_LARGE) / 4;
    freeToPcs(map, d, large);
    expect(d.caches[KIND_FOLIO_LARGE]?.inUse).toBe(0);
    for (const unit of taken) {
      freeToPcs(map, d, unit);
      checkDescriptors(map, d);
    }
    // Full to full again, and what is not in the sheaf is back in its slab.
    expect(d.held).toBeLessThanOrEqual(d.sheaf.length);
    expect(d.caches[KIND_FOLIO]?.inUse).toBe(d.held);
    freeToPcs(map, d, allocFromPcs(map, d));
    d.sheaf[0] = d.sheaf[1] as number;
    expect(() => checkDescriptors(map, d)).toThrow('K3');
  });
});

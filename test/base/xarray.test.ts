import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import {
  xaConflict,
  xaErase,
  xaEraseValue,
  xaFind,
  xaLoad,
  xaNext,
  xaReplace,
  xaSplit,
  xaStore,
} from '../../src/base/xarray.ts';
import { checkXarray } from '../../src/base/xarray_check.ts';
import { nextMiss, prevMiss } from '../../src/base/xarray_cursor.ts';
import { xaClearMark, xaFindMarked, xaGetMark, xaMarked, xaSetMark } from '../../src/base/xarray_mark.ts';
import { isValue, toValue, valueEntry, type Xarray, xaDropShadowNode, xarray } from '../../src/base/xarray_node.ts';

/** What one index holds. An entry's indices share one object, and so do a value's until it is split. */
interface Cell {
  /** Row number > 0, or a value entry < 0 with its age. */
  readonly word: number;
  readonly age: number;
  readonly first: number;
  readonly order: number;
  /** log2 of the indices that a slot covers in the node that holds it. */
  readonly shift: number;
  readonly marks: boolean[];
}

const shiftOf = (order: number): number => order - (order % 6);

/** The same as an Xarray, as plain as can be: one Map of cells a tree. */
class Model {
  readonly trees: Map<number, Cell>[];
  constructor(trees: number) {
    this.trees = Array.from({ length: trees }, () => new Map<number, Cell>());
  }
  entryIn(h: number, index: number, order: number): boolean {
    for (let i = index; i < index + 2 ** order; i++) if ((this.trees[h].get(i)?.word ?? 0) > 0) return true;
    return false;
  }
  put(h: number, index: number, order: number, word: number, age = 0, marks = [false, false, false]): void {
    this.splitValues(h, index, shiftOf(order));
    for (let i = index; i < index + 2 ** order; i++) this.spread(h, i, shiftOf(order));
    const cell = { word, age, first: index, order, shift: shiftOf(order), marks };
    for (let i = index; i < index + 2 ** order; i++) this.trees[h].set(i, cell);
  }
  /** A value in a slot larger than `shift` that stands where something smaller is stored becomes values in smaller slots. */
  splitValues(h: number, index: number, shift: number): void {
    const tree = this.trees[h];
    for (;;) {
      const cell = tree.get(index);
      if (cell === undefined || cell.shift <= shift) return;
      this.spread(h, index, cell.shift);
      const size = 2 ** cell.shift;
      const start = index - (index % size);
      const shorter = cell.shift - 6;
      for (let i = start; i < start + size; i++)
        tree.set(i, { ...cell, first: i - (i % 2 ** shorter), order: shorter, shift: shorter });
    }
  }
  /** A value of several slots becomes one value a slot when one of them changes. */
  spread(h: number, index: number, shift: number): void {
    const tree = this.trees[h];
    const cell = tree.get(index);
    if (cell === undefined || cell.word > 0 || cell.shift !== shift || cell.order === shift) return;
    for (let i = cell.first; i < cell.first + 2 ** cell.order; i++)
      tree.set(i, { ...cell, first: i - (i % 2 ** shift), order: shift });
  }
  cut(h: number, index: number, size: number): void {
    for (let i = index; i < index + size; i++) this.trees[h].delete(i);
  }
  entries(h: number): Cell[] {
    return [...new Set(this.trees[h].values())].filter((c) => c.word > 0);
  }
}

/** No tree is taller. */
const TOP = 30;

/** The cursor of the kernel's gap searches, over a tree of any height whose slots are read off the model. */
class Cursor {
  private readonly tree: Map<number, Cell>;
  private base = 0;
  private shift = 0;
  private slot = 0;
  index: number;
  constructor(tree: Map<number, Cell>, index: number) {
    this.tree = tree;
    this.index = index;
    this.shift = TOP;
    this.slot = Math.floor(index / 2 ** TOP);
    this.down();
    const cell = tree.get(index);
    // Landing on a sibling moves the slot to the first one, and leaves the index.
    if (cell !== undefined) this.slot = (cell.first - this.base) / 2 ** this.shift;
  }
  private holds(): 'gap' | 'node' | 'entry' {
    if (this.shift > TOP) return 'gap';
    const from = this.base + this.slot * 2 ** this.shift;
    const to = from + 2 ** this.shift;
    const within =
      this.shift <= 6
        ? Array.from({ length: to - from }, (_, i) => this.tree.get(from + i)).filter((c) => c !== undefined)
        : [...this.tree].filter(([i]) => i >= from && i < to).map(([, c]) => c);
    if (within.length === 0) return 'gap';
    if (within.some((c) => c.shift < this.shift)) return 'node';
    // Behind the first slot of a value are siblings, which are not seen to be a value's.
    return within[0].word > 0 || within[0].first < from ? 'entry' : 'gap';
  }
  private down(): void {
    while (this.holds() === 'node') {
      this.base += this.slot * 2 ** this.shift;
      this.shift -= 6;
      this.slot = Math.floor(this.index / 2 ** this.shift) % 64;
    }
  }
  get gap(): boolean {
    return this.holds() === 'gap';
  }
  /** One index up or down. */
  step(by: 1 | -1): void {
    this.index += by;
    if (this.shift === 0 && this.slot !== (by === 1 ? 63 : 0)) {
      this.slot += by;
      return;
    }
    if (this.slot !== Math.floor(this.index / 2 ** this.shift) % 64) this.slot += by;
    while ((this.slot === 64 || this.slot === -1) && this.shift <= TOP) {
      this.shift += 6;
      const up = 64 * 2 ** this.shift;
      const offset = (this.base % up) / 2 ** this.shift;
      this.base -= this.base % up;
      this.slot = offset + by;
    }
    this.down();
  }
}

function nextGap(tree: Map<number, Cell>, index: number, steps: number): number {
  if (tree.size === 0) return index;
  const cursor = new Cursor(tree, index);
  for (let left = steps; ; cursor.step(1)) {
    if (cursor.gap) return cursor.index;
    if (--left === 0) return index + steps;
  }
}

function prevGap(tree: Map<number, Cell>, index: number, steps: number): number {
  if (tree.size === 0) return index;
  const cursor = new Cursor(tree, index);
  for (let left = steps; ; ) {
    if (cursor.gap) return cursor.index;
    if (--left === 0) return cursor.index;
    if (cursor.index === 0) return -1;
    cursor.step(-1);
  }
}

const TREES = 3;

class World {
  readonly xa: Xarray = xarray(2);
  readonly heads = new Int32Array(TREES);
  readonly model = new Model(TREES);
  readonly random: Prng;
  /** Indices are below this; far ones are tried now and then. */
  readonly span: number;
  private row = 0;

  constructor(seed: number, span: number) {
    this.random = new Prng(seed);
    this.span = span;
  }

  place(order: number): number {
    const near = this.random.below(50) > 0;
    const index = near ? this.random.below(this.span) : this.random.below(2 ** this.random.between(12, 31));
    return index - (index % 2 ** order);
  }

  step(): void {
    const { xa, heads, model, random } = this;
    const h = random.below(TREES);
    const tree = model.trees[h];
    xa.tag = random.below(3);
    const what = random.below(100);
    if (what < 45) {
      const order = random.below(3) > 0 ? 0 : random.below(random.below(8) > 0 ? 7 : 13);
      const index = this.place(order);
      this.conflict(h, index, order);
      if (model.entryIn(h, index, order)) return;
      xaStore(xa, heads, h, index, order, ++this.row);
      model.put(h, index, order, this.row);
    } else if (what < 75) {
      const cell = this.some(h);
      if (cell === undefined) return;
      const value = random.below(3) > 0 ? valueEntry(random.below(2 ** 30)) : 0;
      const age = random.u32();
      xaErase(xa, heads, h, cell.first, cell.order, value, age);
      if (value === 0) model.cut(h, cell.first, 2 ** cell.order);
      else model.put(h, cell.first, cell.order, value, age);
    } else if (what < 80) {
      const index = this.place(0);
      const cell = tree.get(index);
      xaEraseValue(xa, heads, h, index);
      if (cell !== undefined && cell.word < 0) {
        const size = 2 ** cell.shift;
        model.spread(h, index, cell.shift);
        model.cut(h, index - (index % size), size);
      }
    } else if (what < 84) {
      const cell = this.some(h);
      if (cell === undefined) return;
      xaReplace(xa, heads[h], cell.first + random.below(2 ** cell.order), ++this.row);
      const { first, order, marks } = cell;
      model.put(h, first, order, this.row, 0, marks);
    } else if (what < 92) {
      const cell = this.some(h);
      if (cell === undefined) return;
      const mark = random.below(3);
      const index = cell.first + random.below(2 ** cell.order);
      const on = random.below(3) > 0;
      if (on) xaSetMark(xa, heads[h], index, mark);
      else xaClearMark(xa, heads[h], index, mark);
      cell.marks[mark] = on;
    } else if (what < 95) this.split(h);
    else if (what < 97) this.drop(random.below(3));
    else this.look(h);
  }

  private some(h: number): Cell | undefined {
    const from = this.random.below(this.span);
    for (let i = from; i < from + 200; i++) {
      const cell = this.model.trees[h].get(i);
      if (cell !== undefined && cell.word > 0) return cell;
    }
    return undefined;
  }

  private split(h: number): void {
    const { xa, heads, model, random } = this;
    const cell = this.some(h);
    if (cell === undefined || cell.order === 0) return;
    const order = random.below(cell.order);
    const pieces = [];
    for (let index = cell.first; index < cell.first + 2 ** cell.order; index += 2 ** order)
      pieces.push({ index, order, entry: ++this.row });
    xaSplit(xa, heads, h, cell.first, cell.order, pieces);
    model.cut(h, cell.first, 2 ** cell.order);
    for (const p of pieces) model.put(h, p.index, p.order, p.entry, 0, [...cell.marks]);
  }

  /** What goes with a dropped node is one aligned block of values of one tree. */
  private drop(tag: number): void {
    const { xa, heads, model } = this;
    const nodes = xa.tags.shadow[tag];
    expect(xaDropShadowNode(xa, heads, tag)).toBe(nodes > 0);
    let lost = 0;
    for (let h = 0; h < TREES; h++) {
      const gone = [...model.trees[h]].filter(([i]) => xaLoad(xa, heads[h], i) === 0);
      if (gone.length === 0) continue;
      lost++;
      const shift = gone[0][1].shift;
      const blocks = new Set(gone.map(([i]) => Math.floor(i / 2 ** (shift + 6))));
      expect([blocks.size, gone.every(([, c]) => c.word < 0 && c.shift === shift)]).toEqual([1, true]);
      for (const [i] of gone) model.trees[h].delete(i);
      const start = [...blocks][0] * 2 ** (shift + 6);
      expect([...model.trees[h].keys()].some((i) => i >= start && i < start + 2 ** (shift + 6))).toBe(false);
    }
    expect(lost).toBe(nodes > 0 ? 1 : 0);
  }

  private conflict(h: number, index: number, order: number): void {
    let want = 0;
    let age = 0;
    for (let i = index; i < index + 2 ** order; i++) {
      const cell = this.model.trees[h].get(i);
      if (cell === undefined) continue;
      want = cell.word;
      age = cell.age;
      if (want > 0) break;
    }
    const got = xaConflict(this.xa, this.heads[h], index, order);
    expect(got).toBe(want);
    if (want < 0) expect(this.xa.age).toBe(age);
  }

  /** Searches from a random place. */
  look(h: number): void {
    const { xa, model, random } = this;
    const tree = model.trees[h];
    const head = this.heads[h];
    const from = this.place(0);
    const last = from + random.below(300);
    let any: [number, number] = [0, 0];
    let entry: [number, number] = [0, 0];
    const marked: [number, number][] = [
      [0, 0],
      [0, 0],
      [0, 0],
    ];
    for (let i = last; i >= from; i--) {
      const cell = tree.get(i);
      if (cell === undefined) continue;
      any = [cell.word, i];
      if (cell.word < 0) continue;
      entry = [cell.word, i];
      for (let mark = 0; mark < 3; mark++) if (cell.marks[mark]) marked[mark] = [cell.word, i];
    }
    const found = (word: number): [number, number] => [word, word === 0 ? 0 : xa.index];
    expect(found(xaNext(xa, head, from, last))).toEqual(any);
    expect(found(xaFind(xa, head, from, last))).toEqual(entry);
    for (let mark = 0; mark < 3; mark++) {
      expect(found(xaFindMarked(xa, head, from, last, mark))).toEqual(marked[mark]);
      expect(xaMarked(xa, head, mark)).toBe(model.entries(h).some((c) => c.marks[mark]));
    }
    const steps = random.between(1, 100);
    expect(['next', from, steps, nextMiss(xa, head, from, steps)]).toEqual([
      'next',
      from,
      steps,
      nextGap(tree, from, steps),
    ]);
    expect(['prev', from, steps, prevMiss(xa, head, from, steps)]).toEqual([
      'prev',
      from,
      steps,
      prevGap(tree, from, steps),
    ]);
  }

  compare(): void {
    const { xa, heads, model } = this;
    checkXarray(xa, heads, TREES);
    for (let h = 0; h < TREES; h++) {
      const tree = model.trees[h];
      for (const [i, cell] of tree) {
        const e = xaLoad(xa, heads[h], i);
        if (e !== cell.word || (e < 0 && xa.age !== cell.age)) expect([i, e, xa.age]).toEqual([i, cell.word, cell.age]);
        if (cell.word > 0 && i === cell.first)
          expect([0, 1, 2].map((mark) => xaGetMark(xa, heads[h], i, mark))).toEqual(cell.marks);
      }
      let seen = 0;
      let size = 0;
      for (let e = xaNext(xa, heads[h], 0, 2 ** 31 - 1); e !== 0; e = xaNext(xa, heads[h], xa.after, 2 ** 31 - 1)) {
        seen++;
        size += xa.after - xa.index;
      }
      expect([seen > 0, size]).toEqual([tree.size > 0, tree.size]);
    }
  }
}

describe('random operations against a Map', () => {
  test('small trees, all of it after every step', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const world = new World(seed, seed % 3 === 0 ? 64 : 600);
      for (let i = 0; i < 100; i++) {
        world.step();
        world.compare();
      }
    }
  });

  test.each([101])('20,000 steps, seed %i', (seed) => {
    const world = new World(seed, 2 ** 12);
    for (let i = 0; i < 20_000; i++) {
      world.step();
      if (i % 2000 === 0) world.compare();
    }
    world.compare();
  });
});

describe('gap searches', () => {
  const tree = (...folios: [index: number, order: number][]): { xa: Xarray; heads: Int32Array } => {
    const xa = xarray();
    const heads = new Int32Array(1);
    for (const [index, order] of folios) xaStore(xa, heads, 0, index, order, index + 1);
    return { xa, heads };
  };

  test('from inside a folio the gap is reported too far by the place in the folio', () => {
    const { xa, heads } = tree([428, 2]);
    expect(nextMiss(xa, heads[0], 429, 16)).toBe(433);
    expect(nextMiss(xa, heads[0], 428, 16)).toBe(432);
  });

  test('downward it is reported too soon', () => {
    const { xa, heads } = tree([4, 2]);
    expect(prevMiss(xa, heads[0], 7, 32)).toBe(6);
  });

  test('without a gap the last page looked at is named', () => {
    const { xa, heads } = tree(...Array.from({ length: 40 }, (_, i): [number, number] => [i, 0]));
    expect(prevMiss(xa, heads[0], 39, 32)).toBe(8);
    expect(prevMiss(xa, heads[0], 39, 100)).toBe(-1);
    expect(nextMiss(xa, heads[0], 0, 32)).toBe(32);
    expect(nextMiss(xa, heads[0], 0, 100)).toBe(40);
  });
});

test('values keep 30 bits', () => {
  for (const v of [0, 1, 2 ** 30 - 1]) expect([isValue(valueEntry(v)), toValue(valueEntry(v))]).toEqual([true, v]);
  for (const e of [0, 1, 2 ** 31 - 1]) expect(isValue(e)).toBe(false);
});

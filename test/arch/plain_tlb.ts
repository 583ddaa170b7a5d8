/**
 * The obviously right TLB: lists of objects in order of use, every size tried, no memo, a page at a time; what is mapped stands in a Map.
 * Counts by size of translation, as `size` or, where hardware made the group, `size*`.
 */
import type { Cpu, TlbArraySpec } from '../../src/arch/cpus.ts';
import type { PageTableGeometry } from '../../src/arch/pgtable.ts';

/** A leaf: level, frame of its first page, what it allows. `group`: one of so many leaves under one contiguous hint. */
export interface Leaf {
  readonly level: number;
  readonly frame: number;
  writable: boolean;
  dirty: boolean;
  readonly group: number;
}
/** By address of the leaf. */
export type Mapping = Map<number, Leaf>;

interface Entry {
  readonly size: number;
  readonly number: number;
  readonly asid: number;
  readonly kind: string;
  writable: boolean;
}

const TRANSLATION = 't';
const UPPER = 'u';

class Plain {
  readonly spec: { entries: number; ways: number };
  /** Sizes that an entry may have. */
  readonly sizes: readonly number[];
  private readonly sets: Entry[][];
  /** Sizes whose sets differ: one is enough where there is one set. */
  private readonly tried: readonly number[];
  constructor(spec: { entries: number; ways: number; sizes?: readonly number[]; coalesces?: number }, page = 0) {
    this.spec = spec;
    this.sizes = [...new Set([...(spec.sizes ?? []), (spec.coalesces ?? 1) * page])];
    const ways = spec.ways === 0 || spec.ways > spec.entries ? spec.entries : spec.ways;
    this.sets = Array.from({ length: spec.entries / ways }, () => []);
    this.tried = this.sets.length === 1 ? this.sizes.slice(0, 1) : this.sizes;
  }
  private set(number: number): Entry[] {
    return this.sets[number % this.sets.length];
  }
  find(size: number, number: number, asid: number, kind: string): Entry | undefined {
    for (const e of this.set(number))
      if (e.number === number && e.size === size && e.asid === asid && e.kind.startsWith(kind)) return e;
    return undefined;
  }
  /** The smallest entry that translates a page. */
  translating(page: number, asid: number): Entry | undefined {
    let best: Entry | undefined;
    for (const size of this.tried)
      for (const e of this.set(Math.floor(page / size)))
        if (
          page >= e.size * e.number &&
          page < e.size * (e.number + 1) &&
          (best === undefined || e.size < best.size) &&
          e.asid === asid &&
          e.kind.startsWith(TRANSLATION)
        )
          best = e;
    return best;
  }
  use(e: Entry): void {
    const set = this.set(e.number);
    set.splice(set.indexOf(e), 1);
    set.unshift(e);
  }
  add(e: Entry): void {
    const set = this.set(e.number);
    set.unshift(e);
    if (set.length > this.spec.entries / this.sets.length) set.pop();
  }
  drop(gone: (e: Entry) => boolean): void {
    for (const set of this.sets) for (let i = set.length - 1; i >= 0; i--) if (gone(set[i])) set.splice(i, 1);
  }
}

export interface PlainCounts {
  readonly l1: Record<string, number>;
  readonly l2: Record<string, number>;
  readonly misses: Record<string, number>;
  readonly walks: Record<string, number>;
  readonly dirtyWalks: Record<string, number>;
}

export class PlainTlb {
  readonly counts: PlainCounts = { l1: {}, l2: {}, misses: {}, walks: {}, dirtyWalks: {} };
  private readonly cpu: Cpu;
  private readonly g: PageTableGeometry;
  private readonly l1: Plain[];
  private readonly l2: Plain[];
  private readonly upper: (Plain | undefined)[];
  private readonly coalesces: number;
  private readonly page: number;
  asid = 0;

  constructor(cpu: Cpu, g: PageTableGeometry) {
    this.cpu = cpu;
    this.g = g;
    this.page = 2 ** g.pageShift;
    this.l1 = cpu.l1.map((s) => new Plain(s, this.page));
    this.l2 = cpu.l2.map((s) => new Plain(s, this.page));
    this.coalesces = Math.max(1, ...[...cpu.l1, ...cpu.l2].map((s) => s.coalesces ?? 1));
    const caches = cpu.walkCaches.map((s) => (s.inSecondLevel ? this.l2[0] : new Plain(s)));
    this.upper = g.levels.map(({ name }, level) => {
      const i = cpu.walkCaches.findIndex((s) => s.levels.includes(name));
      return level === 0 || i < 0 ? undefined : caches[i];
    });
  }

  /** Finds an entry that translates the page: of several, the smallest of the first array that has one. */
  private lookUp(arrays: readonly Plain[], page: number): [Plain, Entry] | undefined {
    for (const array of arrays) {
      const e = array.translating(page, this.asid);
      if (e !== undefined) return [array, e];
    }
    return undefined;
  }

  /** Where a translation goes, and in which size. */
  private place(specs: readonly TlbArraySpec[], size: number, coalesced: boolean): [number, number] | undefined {
    const whole = specs.findIndex((s) => coalesced && s.coalesces === this.coalesces);
    if (whole >= 0) return [whole, size];
    const most = coalesced ? this.page : size;
    const held = specs.flatMap((s) => s.sizes).filter((b) => b <= most && b >= this.page);
    if (held.length === 0) return undefined;
    const best = Math.max(...held);
    return [specs.findIndex((s) => s.sizes.includes(best)), best];
  }

  private leafOf(page: number, mapped: Mapping): [number, Leaf] | undefined {
    for (const [level, { shift }] of this.g.levels.entries()) {
      const at = Math.floor(page / 2 ** shift) * 2 ** shift;
      const leaf = mapped.get(at);
      if (leaf?.level === level) return [at, leaf];
    }
    return undefined;
  }

  /** The leaves that make up the translation of a page, and whether hardware joined them. */
  private translation(at: number, leaf: Leaf, mapped: Mapping): { leaves: Leaf[]; coalesced: boolean } {
    const leafBytes = 2 ** this.g.levels[leaf.level].shift;
    const group = (n: number): (Leaf | undefined)[] => {
      const first = Math.floor(at / (n * leafBytes)) * n * leafBytes;
      return Array.from({ length: n }, (_, i) => mapped.get(first + i * leafBytes));
    };
    if (leaf.group > 1) return { leaves: group(leaf.group) as Leaf[], coalesced: false };
    if (leaf.level === 0 && this.coalesces > 1) {
      const leaves = group(this.coalesces);
      const frame = leaves[0]?.frame ?? 1;
      const fits = leaves.every(
        (l, i) => l?.level === 0 && l.group === 1 && l.frame === frame + i && l.writable === leaf.writable,
      );
      if (fits && frame % this.coalesces === 0) return { leaves: leaves as Leaf[], coalesced: true };
    }
    return { leaves: [leaf], coalesced: false };
  }

  /** One access to one page; false: refused. */
  access(page: number, store: boolean, mapped: Mapping): boolean {
    const add = (counts: Record<string, number>, key: string, n = 1): void => {
      counts[key] = (counts[key] ?? 0) + n;
    };
    const first = this.lookUp(this.l1, page);
    const found = first ?? this.lookUp(this.l2, page);
    let made: { kind: string; writable: boolean };
    if (found !== undefined) {
      const [array, e] = found;
      const size = e.kind.slice(1);
      if (store && !e.writable) {
        const at = this.leafOf(page, mapped);
        if (at === undefined || !at[1].writable) return false;
        if (!at[1].dirty) add(this.counts.dirtyWalks, size);
        at[1].dirty = true;
        const is = this.translation(at[0], at[1], mapped);
        const same = is.leaves.length * 2 ** this.g.levels[at[1].level].shift === Number.parseInt(size, 10);
        if (!same || is.leaves.every((l) => l.writable && l.dirty)) e.writable = true;
      }
      add(first ? this.counts.l1 : this.counts.l2, size);
      array.use(e);
      if (first) return true;
      made = { kind: e.kind, writable: e.writable };
    } else {
      const at = this.leafOf(page, mapped);
      if (at === undefined || (store && !at[1].writable)) return false;
      const [address, leaf] = at;
      if (store) leaf.dirty = true;
      const { leaves, coalesced } = this.translation(address, leaf, mapped);
      const bytes = leaves.length * 2 ** this.g.levels[leaf.level].shift;
      const size = `${bytes}${coalesced ? '*' : ''}`;
      add(this.counts.misses, size);
      add(this.counts.walks, size, this.walk(page, leaf.level));
      made = { kind: TRANSLATION + size, writable: leaves.every((l) => l.writable && l.dirty) };
      this.put(this.l2, this.cpu.l2, page, made);
    }
    this.put(this.l1, this.cpu.l1, page, made);
    return true;
  }

  private put(
    arrays: Plain[],
    specs: readonly TlbArraySpec[],
    page: number,
    made: { kind: string; writable: boolean },
  ) {
    const place = this.place(specs, Number.parseInt(made.kind.slice(1), 10), made.kind.endsWith('*'));
    if (place === undefined) return;
    arrays[place[0]].add({ size: place[1], number: Math.floor(page / place[1]), asid: this.asid, ...made });
  }

  /** References of a walk to a leaf of a level. */
  private walk(page: number, level: number): number {
    const { levels } = this.g;
    let from = level + 1;
    for (; from < levels.length; from++) {
      const size = 2 ** levels[from].shift;
      const e = this.upper[from]?.find(size, Math.floor(page / size), this.asid, UPPER + from);
      if (e === undefined) continue;
      this.upper[from]?.use(e);
      break;
    }
    for (let n = from - 1; n > level; n--) {
      const size = 2 ** levels[n].shift;
      this.upper[n]?.add({
        size,
        number: Math.floor(page / size),
        asid: this.asid,
        kind: UPPER + n,
        writable: false,
      });
    }
    return from - level;
  }

  invalidate(start: number, end: number, tables: boolean): void {
    const { asid } = this;
    const overlaps = (e: Entry): boolean =>
      e.asid === asid && e.size * e.number < end && e.size * (e.number + 1) > start;
    for (const a of [...this.l1, ...this.l2]) a.drop((e) => e.kind.startsWith(TRANSLATION) && overlaps(e));
    const all = this.cpu.arch === 'x86_64';
    if (all || tables)
      for (const a of this.upper) a?.drop((e) => e.kind.startsWith(UPPER) && e.asid === asid && (all || overlaps(e)));
  }
}

/** Lays out the TLB that a CPU has for a shape of page tables: its arrays, its sizes of translation, and where each of them goes. */
import { assert, QuireError } from '../base/errors.ts';
import type { Cpu, TlbArraySpec } from './cpus.ts';
import { ORDER, ORDER_MAX, SET_SHIFT } from './order.ts';
import type { PageTableGeometry } from './pgtable.ts';
import {
  AHEAD,
  EMPTY,
  INFO_EMPTY,
  LIST,
  MEMO,
  NEXT,
  ORDERED,
  PREV,
  pushFront,
  SPAN_WORDS,
  type Tlb,
  type TranslationClass,
  VIEW_MAX,
  type WordPlaces,
} from './tlb.ts';

const CLASSES_MAX = 8;
/** Heads of hash chains for an entry, as a power of two: so many that most are empty, which a processor can guess. */
const HEADS_SHIFT = 4;

/** Sizes of translation that these page tables and this CPU can have, smallest first. */
function classesOf(g: PageTableGeometry, coalesces: number): TranslationClass[] {
  const classes: TranslationClass[] = [];
  const add = (level: number, group: number, coalesced: boolean) =>
    classes.push({
      bytes: 2 ** g.levels[level].shift * group,
      level,
      group,
      coalesced,
    });
  for (const [level, { leaf }] of g.levels.entries()) {
    if (!leaf) continue;
    add(level, 1, false);
    if (level === 0 && coalesces > 1) add(0, coalesces, true);
    const cont = level === 0 ? g.contPtes : level === 1 ? g.contPmds : 1;
    if (cont > 1) add(level, cont, false);
  }
  assert(classes.length <= CLASSES_MAX, 'tlb: more classes of translations than there is room for');
  return classes;
}

/** The array of a level that takes a class, and the size of its entries there; undefined: none does. */
function placeOf(
  arrays: readonly TlbArraySpec[],
  c: TranslationClass,
  pageBytes: number,
): { array: number; bytes: number } | undefined {
  let best: { array: number; bytes: number } | undefined;
  for (const [array, spec] of arrays.entries()) {
    if (c.coalesced && spec.coalesces === c.group) return { array, bytes: c.bytes };
    const largest = c.coalesced ? pageBytes : c.bytes;
    for (const bytes of spec.sizes)
      if (bytes <= largest && bytes >= pageBytes && (best === undefined || bytes > best.bytes)) best = { array, bytes };
  }
  return best;
}

/** A TLB as the CPU has it, empty. @throws QuireError EINVAL when the CPU has no such pages */
export function tlb(cpu: Cpu, g: PageTableGeometry): Tlb {
  const pageBytes = 2 ** g.pageShift;
  const specs = [...cpu.l1, ...cpu.l2];
  const coalesces = Math.max(1, ...specs.map((s) => s.coalesces ?? 1));
  const classes = classesOf(g, coalesces);
  if (!cpu.l1.some((s) => s.sizes.includes(pageBytes)))
    throw new QuireError('EINVAL', `cpu '${cpu.name}' has no pages of ${pageBytes / 1024} KiB, as ${g.name} needs`);

  const arrays = specs.map(({ entries, ways }) => ({ entries, ways }));
  const views: { array: number; bytes: number }[] = [];
  const view = (from: number, array: number, bytes: number): number => {
    for (let v = from; v < views.length; v++) if (views[v].array === array && views[v].bytes === bytes) return v;
    return views.push({ array, bytes }) - 1;
  };
  const l1Of = classes.map((c) => {
    const place = placeOf(cpu.l1, c, pageBytes);
    return place === undefined ? -1 : view(0, place.array, place.bytes);
  });
  const l1Views = views.length;
  const l2Of = classes.map((c) => {
    const place = placeOf(cpu.l2, c, pageBytes);
    return place === undefined ? -1 : view(l1Views, cpu.l1.length + place.array, place.bytes);
  });
  const l2Views = views.length;
  const walkOf = g.levels.map(() => -1);
  for (const spec of cpu.walkCaches) {
    const own =
      spec.inSecondLevel === true ? cpu.l1.length : arrays.push({ entries: spec.entries, ways: spec.ways }) - 1;
    for (const [level, { name, shift }] of g.levels.entries())
      if (level > 0 && spec.levels.includes(name)) walkOf[level] = views.push({ array: own, bytes: 2 ** shift }) - 1;
  }
  assert(views.length <= VIEW_MAX, 'tlb: more views than a tag has room for');
  return build(cpu, g, classes, coalesces, arrays, views, {
    l1Of,
    l2Of,
    walkOf,
    l1Views,
    l2Views,
  });
}

function build(
  cpu: Cpu,
  geometry: PageTableGeometry,
  classes: readonly TranslationClass[],
  coalesces: number,
  arrays: readonly { entries: number; ways: number }[],
  views: readonly { array: number; bytes: number }[],
  maps: {
    l1Of: number[];
    l2Of: number[];
    walkOf: number[];
    l1Views: number;
    l2Views: number;
  },
): Tlb {
  let slots = 0;
  let heads = 0;
  const rows = arrays.map(({ entries, ways }) => {
    const full = ways === 0 || ways >= entries;
    if (!full && entries % ways !== 0)
      throw new QuireError('EINVAL', `cpu '${cpu.name}': ${entries} entries do not fill sets of ${ways}`);
    const sets = full ? 1 : entries / ways;
    const bits = Math.ceil(Math.log2(entries)) + HEADS_SHIFT;
    const row = {
      full: full ? 1 : ways > 1 && ways <= ORDER_MAX ? ORDERED : 0,
      base: slots,
      ways: entries / sets,
      sets,
      lists: slots + entries,
      hash: heads,
      hashShift: 32 - bits,
    };
    slots += entries + sets;
    if (full) heads += 2 ** bits;
    return row;
  });
  const wordsOf = (r: (typeof rows)[number]): number[] => {
    const mask = (r.sets & (r.sets - 1)) === 0 ? r.sets - 1 : -1;
    return [r.full, r.base, r.ways, mask, r.sets, r.hash, r.hashShift, r.lists];
  };
  const l1End = rows[cpu.l1.length - 1].lists;
  let used = 0;
  const room = (n: number): number => {
    const first = used;
    used += Math.ceil(n / 16) * 16;
    return first;
  };
  const at: WordPlaces = {
    links: room(slots * 4),
    orders: room(slots << SET_SHIFT),
    info: room(slots),
    heads: room(heads),
    chained: room(slots),
    uses: room(slots),
    sorted: room(l1End),
    spans: room(SPAN_WORDS),
    leaves: room(AHEAD),
    entries: room(AHEAD),
    kept: room(Math.max(...rows.map((r) => r.ways * r.sets))),
    counts: room(Math.max(...rows.map((r) => r.sets))),
  };
  const words = new Int32Array(used);
  const part = (from: number, n: number): Int32Array => words.subarray(from, from + n);
  const t: Tlb = {
    cpu: cpu.name,
    geometry,
    classes,
    tags: new Float64Array(slots),
    times: new Float64Array(slots),
    words,
    at,
    links: part(at.links, slots * 4),
    orders: part(at.orders, slots << SET_SHIFT),
    info: part(at.info, slots),
    heads: part(at.heads, heads),
    chained: part(at.chained, slots),
    uses: part(at.uses, slots).fill(-1),
    full: Uint8Array.from(rows, (r) => r.full),
    base: Int32Array.from(rows, (r) => r.base),
    ways: Int32Array.from(rows, (r) => r.ways),
    sets: Int32Array.from(rows, (r) => r.sets),
    lists: Int32Array.from(rows, (r) => r.lists),
    hash: Int32Array.from(rows, (r) => r.hash),
    hashShift: Int32Array.from(rows, (r) => r.hashShift),
    sorted: part(at.sorted, l1End),
    sortedTimes: new Float64Array(l1End),
    sortedAt: new Int32Array(rows.length),
    viewArray: Int32Array.from(views, (v) => v.array),
    viewPerByte: Float64Array.from(views, (v) => 1 / v.bytes),
    viewTag: Float64Array.from(views, (_, v) => v),
    viewWords: Int32Array.from(views.flatMap((v) => wordsOf(rows[v.array]))),
    live: new Int32Array(views.length),
    l1Views: maps.l1Views,
    l2Views: maps.l2Views,
    views: views.length,
    l1Of: Int32Array.from(maps.l1Of),
    l2Of: Int32Array.from(maps.l2Of),
    walkOf: Int32Array.from(maps.walkOf),
    l1Arrays: cpu.l1.length,
    dropsWalks: cpu.arch === 'x86_64',
    coalesces,
    asid: 0,
  };
  clear(t);
  return t;
}

function clear(t: Tlb): void {
  const { links } = t;
  t.tags.fill(EMPTY);
  t.times.fill(EMPTY);
  t.info.fill(INFO_EMPTY);
  t.orders.fill(0);
  t.heads.fill(-1);
  for (let a = 0; a < t.base.length; a++) {
    t.sortedAt[a] = t.lists[a];
    for (let s = t.base[a]; s < t.lists[a]; s++) {
      if (a < t.l1Arrays) {
        t.sorted[s] = s;
        links[s * 4 + MEMO] = -1;
        links[s * 4 + LIST] = t.lists[a] + Math.floor((s - t.base[a]) / t.ways[a]);
      }
    }
    if (a < t.l1Arrays) continue;
    for (let set = 0; set < t.sets[a]; set++) {
      const head = t.lists[a] + set;
      links[head * 4 + NEXT] = links[head * 4 + PREV] = links[head * 4 + LIST] = head;
      for (let w = t.ways[a] - 1; w >= 0; w--) {
        const s = t.base[a] + set * t.ways[a] + w;
        links[s * 4 + LIST] = head;
        if (t.full[a] === ORDERED) t.orders[(head << SET_SHIFT) | ORDER | (w >> 3)] |= w << ((w & 7) << 2);
        else pushFront(links, s);
      }
    }
  }
}

/**
 * Translates accesses: through the memo (memo.ts), the two levels of each configuration's TLB (tlb.ts), and through real page tables where
 * they miss (walk.ts). All configurations of a pass see an access before the next one is looked at.
 *
 *     let row = 0;
 *     while ((row = translate(p, tables, tops, address, size, kind, row, count)) < count) {
 *       … configuration p.faultConfig has no translation for p.faultAddress, p.faultStore: the engine handles the fault, and
 *       what it unmaps or restricts goes to `invalidate`; then the same access is tried again, or `skip` leaves it out
 *     }
 *
 * An access that crosses pages is one access for each. A store through an entry that is not known to be writable and dirty looks at
 * the tables again, and is refused where they do not allow it. An access that is refused leaves and counts nothing in the
 * configuration that refuses it until it succeeds.
 */
import {
  CODE_SIZE,
  entryDrop,
  FETCH,
  memoFill,
  memoOf,
  NO_PAGE,
  type Pass,
  recall,
  SCATTERED,
  STREAK_HIT,
  STREAK_MAX,
  settle,
  victimOfFull,
  victimOfSet,
} from './memo.ts';
import { ORDER, SET_SHIFT, setPrint } from './order.ts';
import { scatter } from './scatter.ts';
import {
  CHAIN,
  chain,
  END,
  HASH,
  INFO_CLASS,
  INFO_MASK,
  INFO_WRITABLE,
  LIST,
  ORDERED,
  PRINT_SHIFT,
  TAG_UNIT,
  tlbOverlapping,
  tlbSetAsid,
  unchain,
  use,
  VIEW_BASE,
  VIEW_HASH,
  VIEW_MASK,
  VIEW_MAX,
  VIEW_SETS,
  VIEW_SHIFT,
  VIEW_WAYS,
} from './tlb.ts';
import { fetchFrom, insertListed, miss, storeThrough, type WalkedTables } from './walk.ts';

/** Kinds up to these. */
const LOADS = 0;
const LOADS_AND_STORES = 2;
/** Accesses that the memo knew, after which it notes one that no first level had. */
const KNOWN = 8;

/**
 * Translates rows [from, to) until one has no translation in some configuration: returns its row, or `to`. `tables` and `tops` (the number
 * of the top table) by configuration.
 */
export function translate(
  p: Pass,
  tables: readonly WalkedTables[],
  tops: ArrayLike<number>,
  address: Float64Array,
  size: Uint16Array,
  kind: Uint8Array,
  from: number,
  to: number,
): number {
  const { pageBytes, at } = p;
  const perByte = 1 / pageBytes;
  // A run, and the row that ends it, are three at most for two rows.
  if (p.fresh.length < 2 * (to - from)) p.fresh = new Int32Array(2 * (to - from));
  const { fresh } = p;
  p.freshCount = 0;
  p.crossed = false;
  p.lookedFrom = p.lookedTo = 0;
  let i = from;
  if (p.refused && i < to) {
    if (!rest(p, tables, tops, kind[i])) return i;
    i++;
  }
  for (;;) {
    if (p.streak >= SCATTERED) {
      const was = i;
      i = scatter(p, tables, tops, address, size, kind, i, to);
      if (i > was) {
        fresh[p.freshCount++] = ~was;
        fresh[p.freshCount++] = i;
      }
    } else i = recall(p, address, size, kind, i, to);
    if (i >= to) return to;
    fresh[p.freshCount++] = i;
    const a = address[i];
    at[0] = Math.floor(a * perByte) * pageBytes;
    at[2] = a + size[i];
    if (at[2] > at[0] + pageBytes) p.crossed = true;
    if (!rest(p, tables, tops, kind[i])) return i;
    i++;
  }
}

/** Leaves out the access that was refused: its program was killed there, or the trace is wrong. Returns the next row. */
export function skip(p: Pass, row: number): number {
  p.refused = false;
  return row + 1;
}

/** The pages of an access from at[0] to at[2], for configuration p.faultConfig and those behind it first. False: one refuses. */
function rest(p: Pass, tables: readonly WalkedTables[], tops: ArrayLike<number>, kind: number): boolean {
  const { at, pageBytes, translators, found } = p;
  const n = translators.length;
  for (;;) {
    if (!p.refused) {
      p.faultConfig = 0;
      // Among many that the memo knows, this one will be wanted again.
      p.noted = at[1] - at[3] >= KNOWN;
      if (p.noted) p.streak = 0;
      at[1]++;
      at[3] = at[1];
    }
    p.refused = false;
    for (let c = p.faultConfig; c < n; c++) {
      const ok =
        kind === FETCH
          ? fetchFrom(translators[c], tables[c], tops[c], at)
          : enter(p, c, tables[c], tops[c], kind !== 0);
      if (ok) continue;
      translators[c].faults++;
      p.refused = true;
      p.streak = 0;
      p.faultConfig = c;
      p.faultAddress = at[0];
      p.faultStore = kind === 1 || kind === 2;
      p.faultFetch = kind === FETCH;
      return false;
    }
    if (kind === FETCH) p.code[(at[0] / pageBytes) & (CODE_SIZE - 1)] = at[0];
    else {
      // A store that went through says so of its page in all configurations; a load, if every entry does.
      // What every first level had to make room for may never be used again: it is noted when it is.
      let known = p.noted ? 1 : -1;
      p.noted = false;
      for (let c = 0; c < n; c++) {
        if (found[c] < 0) known = -1;
        else if (kind === 0 && known > 0 && (translators[c].tlb.info[found[c]] & INFO_WRITABLE) === 0) known = 0;
      }
      if (known >= 0) memoFill(p, memoOf(at[0], pageBytes), known > 0 ? LOADS_AND_STORES : LOADS);
    }
    if (at[0] + pageBytes >= at[2]) return true;
    at[0] += pageBytes;
  }
}

/**
 * One access to the page at[0] in one configuration; p.found[c] is the entry of the first level. False: it is refused.
 * The searches stand here once more (tlbFind), because a call would put every key on the heap.
 */
function enter(p: Pass, c: number, pt: WalkedTables, top: number, stores: boolean): boolean {
  const x = p.translators[c];
  const { at } = p;
  const page = at[0];
  const t = x.tlb;
  const { tags, info, links, heads, live, viewPerByte, viewTag, viewWords, l1Views, l2Views } = t;
  let slot = -1;
  let v = 0;
  // Views of the first level come first.
  for (; v < l2Views; v++) {
    if (live[v] === 0) continue;
    const q = v << 3;
    const key = Math.floor(page * viewPerByte[v]);
    const tag = key * TAG_UNIT + viewTag[v];
    if (viewWords[q] === 1) {
      slot = heads[(viewWords[q + VIEW_HASH] + (Math.imul(key, HASH) >>> viewWords[q + VIEW_SHIFT])) | 0];
      while (slot >= 0 && tags[slot] !== tag) slot = links[(slot << 2) | CHAIN];
      if (slot >= 0) break;
    } else {
      const mask = viewWords[q + VIEW_MASK];
      const sets = viewWords[q + VIEW_SETS];
      const set = mask >= 0 ? key & mask : (key - Math.floor(key / sets) * sets) | 0;
      const ways = viewWords[q + VIEW_WAYS];
      let s = (viewWords[q + VIEW_BASE] + Math.imul(set, ways)) | 0;
      const to = (s + ways) | 0;
      while (s < to && tags[s] !== tag) s = (s + 1) | 0;
      if (s < to) {
        slot = s;
        break;
      }
    }
  }
  let is: number;
  if (slot >= 0) {
    if (c === 0 && p.streak > 0) p.streak = Math.max(0, p.streak - STREAK_HIT);
    if (stores && (info[slot] & INFO_WRITABLE) === 0 && !storeThrough(x, pt, top, at, slot)) return false;
    is = info[slot] & INFO_MASK;
    if (v < l1Views) {
      x.counts.l1Hits[is & INFO_CLASS]++;
      t.times[slot] = at[1];
      t.orders[(links[(slot << 2) | LIST] << SET_SHIFT) | ORDER] = 0;
      p.found[c] = slot;
      p.noted = true;
      return true;
    }
    x.counts.l2Hits[is & INFO_CLASS]++;
    use(t, v, slot);
  } else {
    is = miss(x, pt, top, at, stores);
    if (is < 0) return false;
    if (c === 0 && p.streak < STREAK_MAX) p.streak++;
    v = t.l2Of[is & INFO_CLASS];
    if (v >= 0) info[insertListed(t, v, at)] = is;
  }

  // Into the first level.
  v = t.l1Of[is & INFO_CLASS];
  const q = v << 3;
  const key = Math.floor(page * viewPerByte[v]);
  if (viewWords[q] === 1) {
    slot = victimOfFull(p, c, t.viewArray[v]);
    if (tags[slot] >= 0) unchain(t, slot);
    chain(t, slot, (viewWords[q + VIEW_HASH] + (Math.imul(key, HASH) >>> viewWords[q + VIEW_SHIFT])) | 0);
  } else {
    const mask = viewWords[q + VIEW_MASK];
    const sets = viewWords[q + VIEW_SETS];
    const set = mask >= 0 ? key & mask : (key - Math.floor(key / sets) * sets) | 0;
    const ways = viewWords[q + VIEW_WAYS];
    const first = (viewWords[q + VIEW_BASE] + Math.imul(set, ways)) | 0;
    slot = victimOfSet(p, c, first, (first + ways) | 0);
    if (viewWords[q] === ORDERED)
      setPrint(t.orders, links[(slot << 2) | LIST] << SET_SHIFT, slot - first, Math.imul(key, HASH) >>> PRINT_SHIFT);
  }
  const was = tags[slot];
  if (was >= 0) live[was & (VIEW_MAX - 1)]--;
  tags[slot] = key * TAG_UNIT + viewTag[v];
  t.times[slot] = at[1];
  t.orders[(links[(slot << 2) | LIST] << SET_SHIFT) | ORDER] = 0;
  info[slot] = is;
  live[v]++;
  p.found[c] = slot;
  return true;
}

/**
 * Pages of [start, end) were unmapped or restricted in configuration `c`, address space `asid`; `tables`: page tables were freed too. On x86 any such
 * invalidation drops all upper entries of the address space from the walk caches.
 */
export function invalidate(
  p: Pass,
  c: number,
  start: number,
  end: number,
  tables: boolean,
  asid: number = p.translators[c].tlb.asid,
): void {
  const t = p.translators[c].tlb;
  const drop = (a: number, s: number): void => entryDrop(p, c, a, s);
  for (let v = 0; v < t.l2Views; v++) tlbOverlapping(t, v, start, end, asid, drop);
  if (tables || t.dropsWalks) {
    const from = t.dropsWalks ? 0 : start;
    const to = t.dropsWalks ? END : end;
    for (let v = t.l2Views; v < t.views; v++) tlbOverlapping(t, v, from, to, asid, drop);
  }
  p.code.fill(NO_PAGE);
}

/** Everything of an address space of configuration `c`. */
export function flushAsid(p: Pass, c: number, asid: number): void {
  const t = p.translators[c].tlb;
  for (let v = 0; v < t.views; v++) tlbOverlapping(t, v, 0, END, asid, (a, s) => entryDrop(p, c, a, s));
  p.code.fill(NO_PAGE);
}

/**
 * The accesses that follow are made in address space `mm` (not 0). A recent one still has its translations; a new one takes the next
 * identifier in turn, and that one's translations go.
 * @kernel arch/x86/mm/tlb.c choose_new_asid (6.18)
 */
export function switchTo(p: Pass, mm: number): void {
  settle(p);
  p.code.fill(NO_PAGE);
  for (const [c, x] of p.translators.entries()) {
    let asid = x.asids.indexOf(mm);
    if (asid < 0) {
      asid = x.nextAsid;
      x.nextAsid = (asid + 1) % x.asids.length;
      if (x.asids[asid] !== 0) flushAsid(p, c, asid);
      x.asids[asid] = mm;
    }
    tlbSetAsid(x.tlb, asid);
  }
}

/** An address space is gone: should its number come back, it is another one. */
export function forget(p: Pass, mm: number): void {
  for (const [c, x] of p.translators.entries()) {
    const asid = x.asids.indexOf(mm);
    if (asid < 0) continue;
    flushAsid(p, c, asid);
    x.asids[asid] = 0;
  }
}

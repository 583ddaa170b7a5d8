import { assert } from '../base/errors.ts';
import { ORDER, ORDER_MAX } from './order.ts';
import { CHAIN, HASH, INFO_EMPTY, keyOfTag, ORDERED, PREV, PRINT_SHIFT, type Tlb, tlbFind, viewOfTag } from './tlb.ts';

/** Walks the invariants L1–L6 of tlb.ts and throws at the first that is broken. For tests. */
export function checkTlb(t: Tlb): void {
  const live = new Int32Array(t.views);
  for (let a = 0; a < t.base.length; a++) {
    const seen = new Set<number>();
    for (let s = t.base[a]; s < t.lists[a]; s++) {
      const tag = t.tags[s];
      assert(tag < 0 === (t.info[s] === INFO_EMPTY), 'L6: an entry that does not know whether it is in use');
      if (tag < 0) continue;
      assert(
        t.full[a] !== 1 || t.chained[s] === t.hash[a] + (Math.imul(keyOfTag(tag), HASH) >>> t.hashShift[a]),
        'L3: the head',
      );
      assert(!seen.has(tag), 'L1: a tag twice in an array');
      seen.add(tag);
      assert(t.viewArray[viewOfTag(tag)] === a, 'L1: a tag of another array');
      live[viewOfTag(tag)]++;
      assert(tlbFind(t, a, keyOfTag(tag), tag) === s, 'L2, L3: an entry that is not found');
    }
    for (let set = 0; set < t.sets[a]; set++)
      if (t.full[a] === ORDERED) checkOrder(t, a, set);
      else if (a >= t.l1Arrays) checkSet(t, a, set);
    if (t.full[a] === 1) checkChains(t, a, seen.size);
  }
  for (let v = 0; v < t.views; v++) assert(live[v] === t.live[v], 'L5: live counts differ');
}

function checkSet(t: Tlb, a: number, set: number): void {
  const { links } = t;
  const head = t.lists[a] + set;
  const from = t.base[a] + set * t.ways[a];
  let n = 0;
  let empty = false;
  for (let s = links[head * 4]; s !== head; s = links[s * 4]) {
    assert(s >= from && s < from + t.ways[a] && links[links[s * 4] * 4 + PREV] === s, 'L4: a broken list');
    assert(!(empty && t.tags[s] >= 0), 'L4: an entry in use behind one that is not');
    empty = t.tags[s] < 0;
    assert(++n <= t.ways[a], 'L4: a list without end');
  }
  assert(n === t.ways[a], 'L4: an entry that is not on its list');
}

/** `ways` by place of their prints. */
function checkPrints(t: Tlb, a: number, set: number, ways: readonly number[]): void {
  const head = t.lists[a] + set;
  for (const [n, w] of ways.entries()) {
    const tag = t.tags[t.base[a] + set * t.ways[a] + w];
    const print = Math.imul(keyOfTag(tag), HASH) >>> PRINT_SHIFT;
    assert(
      tag < 0 || ((t.orders[head * 8 + (n >> 2)] >>> ((n & 3) * 8)) & 255) === print,
      'L4: an entry with the print of another',
    );
  }
}

function checkOrder(t: Tlb, a: number, set: number): void {
  const head = t.lists[a] + set;
  if (a < t.l1Arrays)
    checkPrints(
      t,
      a,
      set,
      Array.from({ length: t.ways[a] }, (_, w) => w),
    );
  if (a < t.l1Arrays && t.orders[head * 8 + ORDER] === 0) return;
  const ways = Array.from(
    { length: t.ways[a] },
    (_, w) => (t.orders[head * 8 + ORDER + (w >> 3)] >>> ((w & 7) * 4)) & 15,
  );
  assert(new Set(ways).size === t.ways[a] && Math.max(...ways) < t.ways[a], 'L4: a way twice in the order');
  for (let w = t.ways[a]; w < ORDER_MAX; w++)
    assert(((t.orders[head * 8 + ORDER + (w >> 3)] >>> ((w & 7) * 4)) & 15) === 0, 'L4: more ways than the set has');
  if (a >= t.l1Arrays) checkPrints(t, a, set, ways);
  const slots = ways.map((w) => t.base[a] + set * t.ways[a] + w);
  for (let i = 1; i < slots.length; i++) {
    assert(!(t.tags[slots[i]] >= 0 && t.tags[slots[i - 1]] < 0), 'L4: an entry in use behind one that is not');
    assert(a >= t.l1Arrays || t.times[slots[i]] <= t.times[slots[i - 1]], 'L4: a later time behind an earlier one');
  }
}

function checkChains(t: Tlb, a: number, used: number): void {
  let chained = 0;
  for (let h = 0; h < 2 ** (32 - t.hashShift[a]); h++)
    for (let s = t.heads[t.hash[a] + h]; s >= 0; s = t.links[s * 4 + CHAIN])
      assert(s >= t.base[a] && s < t.lists[a] && t.tags[s] >= 0 && ++chained <= used, 'L3: a broken chain');
  assert(chained === used, 'L3: entries in use and chained ones differ');
}

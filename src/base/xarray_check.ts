/**
 * The claims that hold for every XArray between two calls:
 *  X1 every child points back to its parent and slot, and its shift is six less;
 *  X2 count is the number of slots in use, values the number of slots with values or their siblings; no node is empty;
 *  X3 a sibling follows its entry without a gap, and an entry's slots are aligned to their number;
 *  X4 a node's mark is set exactly where an entry below it has it; values and siblings have none;
 *  X5 nodes in use plus free nodes are all the nodes ever used; shadowNodes counts the nodes that hold only values;
 *  X6 the tags' lists hold just these nodes, and each node is counted under its tag.
 */
import { nodeMarked } from './xarray_mark.ts';
import { isNode, isSibling, isValue, onlyValues, toNode, toSibling, type Xarray } from './xarray_node.ts';

/** Throws with the claim that is broken. `heads`: the roots of `rows` trees. */
export function checkXarray(xa: Xarray, heads: ArrayLike<number>, rows: number): void {
  const t = xa.nodes;
  let used = 0;
  let shadow = 0;
  const byTag = new Array<number>(xa.tags.rows).fill(0);
  const fail = (rule: string, n: number): never => {
    throw new Error(`xarray ${rule} broken at node ${n}`);
  };
  const walk = (n: number): void => {
    used++;
    if (onlyValues(xa, n)) shadow++;
    byTag[t.tag[n] as number] = (byTag[t.tag[n] as number] as number) + 1;
    let count = 0;
    let values = 0;
    const seen = [0, 0, 0, 0, 0, 0];
    let first = -1;
    for (let slot = 0; slot < 64; slot++) {
      const e = t.slots[(n * 64 + slot) << 1] as number;
      if (e === 0) {
        first = -1;
        continue;
      }
      count++;
      if (isNode(e)) {
        const child = toNode(e);
        if (t.parent[child] !== n || t.offset[child] !== slot || t.shift[child] !== (t.shift[n] as number) - 6)
          fail('X1', child);
        walk(child);
        for (let mark = 0; mark < 3; mark++)
          if (nodeMarked(xa, child, mark))
            seen[mark * 2 + (slot >>> 5)] = (seen[mark * 2 + (slot >>> 5)] as number) | (1 << (slot & 31));
        first = -1;
      } else if (isSibling(e)) {
        if (toSibling(e) !== first) fail('X3', n);
        if (isValue(t.slots[(n * 64 + first) << 1] as number)) values++;
      } else {
        first = slot;
        if (e < 0) values++;
        else
          for (let mark = 0; mark < 3; mark++) {
            const w = mark * 2 + (slot >>> 5);
            seen[w] = (seen[w] as number) | ((t.marks[n * 6 + w] as number) & (1 << (slot & 31)));
          }
      }
    }
    if (count === 0 || t.count[n] !== count || t.values[n] !== values) fail('X2', n);
    for (let w = 0; w < 6; w++) if (t.marks[n * 6 + w] !== seen[w]) fail('X4', n);
  };
  for (let h = 0; h < rows; h++) if (heads[h] !== 0) walk(toNode(heads[h] as number));
  let free = 0;
  for (let n = xa.free; n >= 0; n = t.parent[n] as number) free++;
  if (used !== xa.used || used + free !== xa.top || shadow !== xa.shadowNodes) fail('X5', used);
  let listed = 0;
  for (let g = 0; g < xa.tags.rows; g++) {
    let nodes = 0;
    let last = -1;
    for (let n = (xa.tags.oldest[g] as number) - 1; n >= 0; n = t.newer[n] as number) {
      if (t.tag[n] !== g || t.older[n] !== last || !onlyValues(xa, n)) fail('X6', n);
      last = n;
      nodes++;
    }
    if (xa.tags.newest[g] !== last + 1 || xa.tags.shadow[g] !== nodes || xa.tags.used[g] !== byTag[g]) fail('X6', g);
    listed += nodes;
  }
  if (listed !== shadow) fail('X6', listed);
}

/** No translation outlives what it translates: after random events each entry of the TLB is one that the page tables still have. */
import { expect, test } from 'vitest';
import { INFO_CLASS, INFO_WRITABLE, keyOfTag, type Tlb, viewOfTag } from '../../src/arch/tlb.ts';
import { Prng } from '../../src/base/prng.ts';
import { AccessReplay } from '../../src/lab/access_replay.ts';
import type { Settings } from '../../src/lab/settings.ts';
import { checkMachine } from '../../src/mm/check.ts';
import type { MmId } from '../../src/mm/ids.ts';
import {
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  PTE_CONT,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
} from '../../src/mm/pgtable.ts';
import { V } from '../../src/mm/vmstat.ts';
import { type Accesses, type AccessSource, accesses, FETCH, type SpaceEvent } from '../../src/trace/access.ts';
import { MADVICE } from '../../src/trace/event.ts';

const MIB = 2 ** 20;
const at = 0x7f0000000000;
const SIZE = 24 * MIB;

/** Each entry of a TLB, against the tables. */
function look(r: AccessReplay, t: Tlb, asids: Int32Array): number {
  const { m } = r;
  let entries = 0;
  for (let v = 0; v < t.l2Views; v++) {
    const a = t.viewArray[v] as number;
    for (let s = t.base[a] as number; s < (t.lists[a] as number); s++) {
      const tag = t.tags[s] as number;
      if (tag < 0 || viewOfTag(tag) !== v) continue;
      const mm = asids[(tag % 128) >> 4] as MmId;
      const addr = keyOfTag(tag) / (t.viewPerByte[v] as number);
      const pmd = pmdOffset(m, mm, addr);
      const e = pmd < 0 ? -1 : pmdLeaf(m, pmd) ? pmd : pteOfPmd(m, pmd, addr);
      const what = `entry for ${(addr - at) / 4096} of address space ${mm}`;
      expect(e, what).toBeGreaterThanOrEqual(0);
      const flags = pteFlags(m, e);
      expect(flags & _PAGE_PRESENT, what).not.toBe(0);
      const kind = t.classes[(t.info[s] as number) & INFO_CLASS];
      if (kind !== undefined && kind.group > 1 && !kind.coalesced)
        expect((m.pt.entries[e * 2 + 1] as number) & PTE_CONT, `${what}: contiguous`).toBe(PTE_CONT);
      if (((t.info[s] as number) & INFO_WRITABLE) !== 0)
        expect(flags & (_PAGE_RW | _PAGE_DIRTY), `${what}: writable`).toBe(_PAGE_RW | _PAGE_DIRTY);
      entries++;
    }
  }
  return entries;
}

function source(rng: Prng, steps: number, check: () => void, page: number): AccessSource {
  const batch: Accesses = accesses(400);
  let step = 0;
  let forks = 0;
  const place = (): number => at + Math.floor(rng.below(SIZE) / page) * page;
  const length = (): number => page * (1 + rng.below(rng.below(4) === 0 ? 600 : 20));
  const event = (): SpaceEvent => {
    const [address, n] = [place(), length()];
    switch (rng.below(8)) {
      case 0:
        return { op: 'unmap', address, length: n };
      case 1:
      case 2:
        return { op: 'protect', address, length: n, prot: [0, 1, 3, 3][rng.below(4)] as number };
      case 3:
      case 4:
        return {
          op: 'advise',
          address,
          length: n,
          advice: MADVICE.indexOf((['dontneed', 'free', 'cold', 'pageout'] as const)[rng.below(4)] as never),
        };
      case 5:
        return {
          op: 'move',
          address,
          length: n,
          to: at + 2 * SIZE + Math.floor(rng.below(SIZE) / page) * page,
          newLength: n,
        };
      case 6:
        if (forks++ >= 3) return { op: 'unmap', address, length: n };
        return { op: 'fork', pid: 100 + step };
      default:
        return { op: 'map', address, length: n, prot: 3, file: '', offset: 0 } as SpaceEvent;
    }
  };
  return {
    name: 'random',
    total: -1,
    told: true,
    regions: null,
    skipped: {},
    next() {
      check();
      if (step > steps) return null;
      batch.count = 0;
      batch.event = null;
      if (step === 0)
        batch.event = { op: 'map', address: at, length: SIZE, prot: 3, file: '', offset: 0 } as SpaceEvent;
      else {
        const from = place();
        for (; batch.count < 300; batch.count++) {
          batch.kind[batch.count] = rng.below(FETCH);
          batch.address[batch.count] =
            rng.below(3) === 0 ? place() : Math.min(from + page * batch.count, at + SIZE - page);
          batch.size[batch.count] = 8;
        }
        batch.event = event();
      }
      step++;
      return batch;
    },
    close() {},
  };
}

const RUNS: readonly [string, readonly string[], Settings][] = [
  ['x86', ['zen4', 'golden-cove'], { thp: { all: 'never' } }],
  ['x86, huge pages', ['zen4', 'ice-lake-sp'], { thp: { all: 'never', top: 'always', '64kB': 'always' } }],
  ['arm64', ['neoverse-v2'], { thp: { all: 'never', '64kB': 'always' } }],
  ['arm64 without ranges', ['neoverse-n1'], { thp: { top: 'always' } }],
  ['arm64, 16 KiB', ['neoverse-v2'], { pageSize: 16384, memory: 40 * MIB, thp: { all: 'always' } }],
];

for (const [name, cpus, set] of RUNS)
  for (const seed of [1])
    test(`${name}, seed ${seed}`, () => {
      const rng = new Prng(seed);
      let seen = 0;
      const check = (): void => {
        for (const x of r.translators) seen += look(r, x.tlb, x.asids);
      };
      const page = set.pageSize ?? 4096;
      const swap = { size: 64 * MIB, kind: 'ssd', zswap: false, ratio: 2, data: true } as const;
      const r: AccessReplay = new AccessReplay(
        source(rng, 100, check, page),
        { memory: 24 * MIB, swap, ...set },
        [],
        cpus,
      );
      r.run();
      checkMachine(r.m, true);
      expect(r.m.vmstat[V.pswpout]).toBeGreaterThan(0);
      expect(seen).toBeGreaterThan(1000);
      expect((r.m.tlb?.single ?? 0) + (r.m.tlb?.range ?? 0)).toBeGreaterThan(10);
    });

test('a TLB that is not told has stale entries', () => {
  const rng = new Prng(1);
  const check = (): void => {
    if (r.m.tlb !== null) r.m.tlb.forget = null;
    for (const x of r.translators) look(r, x.tlb, x.asids);
  };
  const r: AccessReplay = new AccessReplay(source(rng, 40, check, 4096), { memory: 64 * MIB }, [], ['zen4']);
  expect(() => r.run()).toThrow(/entry for/);
});

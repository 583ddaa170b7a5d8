/**
 * Random loads, stores, reads, writes, cuts, holes, syncs, advice and munmap on one file with a shared and a private mapping, on
 * every file system and several kernels. After each step the machine's invariants hold, and the page tables agree with a plain
 * model:
 *
 *   a page of the shared mapping, and of the private one where nothing was stored, is the page that the cache has there;
 *   a page of the private mapping that was stored to is a copy, until it is unmapped or the file ends before it;
 *   nothing is mapped that begins past the end of the file;
 *   an entry that is writable or dirty in the shared mapping lies in a folio that is dirty.
 */
import { describe, expect, test } from 'vitest';
import '../lab/file_world.ts';
import { Prng } from '../../src/base/prng.ts';
import { AS_SWAPBACKED } from '../../src/mm/address_space.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { genericFadvise } from '../../src/mm/fadvise.ts';
import { filemapGetFolio } from '../../src/mm/filemap.ts';
import type { Pfn } from '../../src/mm/ids.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { folioIndex, folioPfn, folioTest, folioTestAnon, pageFolio } from '../../src/mm/mm_types.ts';
import { doMunmap } from '../../src/mm/mmap.ts';
import { PG } from '../../src/mm/page_flags.ts';
import {
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  pmdLeaf,
  pmdOffset,
  pteFlags,
  pteOfPmd,
  ptePayload,
} from '../../src/mm/pgtable.ts';
import { VM_EXEC, VM_WRITE } from '../../src/mm/vma.ts';
import { type FileWorld, fileWorld, type Mapped } from '../lab/file_world.ts';

const PAGE = 4096;
const MiB = 2 ** 20;
/** Pages that are mapped; the file has up to as many. */
const SPAN = (5 * MiB) / PAGE;
const STEPS = 160;

class World {
  readonly w: FileWorld;
  readonly r: Prng;
  readonly shared: Mapped;
  readonly own: Mapped;
  /** Pages of the private mapping that hold a copy; pages of either that are unmapped for good. */
  readonly copies = new Set<number>();
  readonly gone: [Set<number>, Set<number>] = [new Set(), new Set()];
  readonly did: string[] = [];

  constructor(seed: number, fs: string, kernel: string, huge: string) {
    this.r = new Prng(seed);
    const large = fs === 'tmpfs' ? huge !== 'never' : fs === 'xfs' || (fs === 'ext4' && kernel === '6.18');
    const maxOrder = large ? 9 : 0;
    const raPages = fs === 'tmpfs' ? 0 : this.r.pick([4, 32, 128]);
    const size = fs === 'tmpfs' ? 0 : 3 * MiB + 100;
    const ioPages = fs === 'tmpfs' ? 0 : 320;
    this.w = fileWorld({ fs, kernel, huge, maxOrder, raPages, ioPages, size, memory: 64 * MiB });
    if (fs === 'tmpfs') this.w.write(0, 3 * MiB);
    const at = this.r.pick([0, 0, 1, 100]);
    this.shared = this.w.map(VM_WRITE, { length: SPAN * PAGE, at });
    this.own = this.w.map(this.r.pick([VM_WRITE, VM_WRITE | VM_EXEC]), { length: SPAN * PAGE, private: true });
  }

  get size(): number {
    return this.w.m.spaces.size[this.w.mapping] as number;
  }

  step(): void {
    const { w, r } = this;
    const { m, mapping, file } = w;
    const pages = Math.ceil(this.size / PAGE);
    const page = r.below(Math.max(pages, 1));
    const offset = page * PAGE + r.pick([0, 0, 1, 700]);
    const length = r.pick([1, PAGE, 20_000, 100_000, MiB]);
    const kind = r.below(14);
    this.did.push(`${kind}:${page}+${length}`);
    if (kind < 5) {
      const write = r.below(2) === 0;
      const run = r.pick([1, 1, 5, 40]);
      for (let p = page; p < Math.min(page + run, pages); p++) {
        if (kind < 3) this.shared.touch(p, write);
        else {
          this.own.touch(p, write);
          if (write && !this.gone[1].has(p)) this.copies.add(p);
        }
      }
    } else if (kind === 5) w.read(offset, length);
    else if (kind === 6) w.write(Math.min(offset, SPAN * PAGE - length), length);
    else if (kind === 7) this.truncate(Math.min(this.size + length, SPAN * PAGE));
    else if (kind === 8) this.truncate(Math.max(0, this.size - length));
    else if (kind === 9) w.wait(() => w.ops.punchHole(m, mapping, offset, length));
    else if (kind === 10) w.wait(() => w.ops.fsync(m, mapping));
    else if (kind === 11) genericFadvise(m, file, offset, length, r.pick(['dontneed', 'willneed'] as const));
    else if (kind === 12) {
      const advice = r.pick(['random', 'sequential', 'normal', 'hugepage', 'nohugepage', 'dontneed'] as const);
      const [map, mine] = r.below(2) === 0 ? [this.shared, false] : [this.own, true];
      madvise(m, map.mm, map.addr + page * PAGE, length, advice);
      if (advice === 'dontneed' && mine) this.dropCopies(page, page + Math.ceil(length / PAGE));
    } else if (r.below(6) === 0) {
      const mine = r.below(2);
      const map = mine === 1 ? this.own : this.shared;
      const end = Math.min(page + Math.ceil(length / PAGE), SPAN);
      expect(doMunmap(m, map.mm, map.addr + page * PAGE, (end - page) * PAGE)).toBe(0);
      for (let p = page; p < end; p++) this.gone[mine === 1 ? 1 : 0].add(p);
      if (mine === 1) this.dropCopies(page, end);
    }
    w.device.drain();
  }

  private truncate(size: number): void {
    const { w } = this;
    const before = this.size;
    w.wait(() => w.ops.setSize(w.m, w.mapping, size));
    if (size < before) this.dropCopies(Math.ceil(size / PAGE), SPAN);
  }

  private dropCopies(from: number, to: number): void {
    for (const p of this.copies) if (p >= from && p < to) this.copies.delete(p);
  }

  check(): void {
    checkMachine(this.w.m, true);
    const pages = Math.ceil(this.size / PAGE);
    const swapbacked = ((this.w.m.spaces.flags[this.w.mapping] as number) & AS_SWAPBACKED) !== 0;
    for (let p = 0; p < SPAN; p++) {
      this.page(this.shared, p, false, pages, swapbacked);
      this.page(this.own, p, this.copies.has(p), pages, swapbacked);
    }
  }

  private page(map: Mapped, p: number, copy: boolean, pages: number, swapbacked: boolean): void {
    const { m, mapping } = this.w;
    const [frame, flags] = this.entry(map, p);
    if (frame === 0) {
      expect(copy, `page ${p} has lost its copy`).toBe(false);
      return;
    }
    const folio = pageFolio(m.map, frame as Pfn);
    // A folio of tmpfs may be mapped past the end of its file.
    expect(p < pages || swapbacked, `page ${p} of ${pages} is mapped`).toBe(true);
    expect(folioTestAnon(m.map, folio), `page ${p} is a copy`).toBe(copy);
    if (copy) return;
    const cached = filemapGetFolio(m, mapping, p);
    expect(cached === 0 ? 0 : folioPfn(m.map, cached) + p - folioIndex(m.map, cached), `frame of page ${p}`).toBe(
      frame,
    );
    if ((flags & (_PAGE_RW | _PAGE_DIRTY)) !== 0 && !swapbacked)
      expect(folioTest(m.map, folio, PG.PG_dirty), `page ${p} is writable, its folio clean`).toBe(true);
  }

  /** Frame and flags that map a page; 0 when none does. */
  private entry(map: Mapped, p: number): [number, number] {
    const { m } = this.w;
    const addr = map.addr + p * PAGE;
    const pmd = pmdOffset(m, map.mm, addr);
    if (pmd < 0 || pteFlags(m, pmd) === 0) return [0, 0];
    if (pmdLeaf(m, pmd)) return [ptePayload(m, pmd) + ((addr / PAGE) & 511), pteFlags(m, pmd)];
    const e = pteOfPmd(m, pmd, addr);
    return (pteFlags(m, e) & _PAGE_PRESENT) === 0 ? [0, 0] : [ptePayload(m, e), pteFlags(m, e)];
  }
}

const runs: readonly (readonly [fs: string, kernel: string, huge: string])[] = [
  ['xfs', '6.18', ''],
  ['xfs', '6.12', ''],
  ['xfs', '7.3', ''],
  ['ext4', '6.18', ''],
  ['ext4', '5.15', ''],
  ['btrfs', '6.18', ''],
  ['tmpfs', '6.18', 'never'],
  ['tmpfs', '6.18', 'always'],
  ['tmpfs', '7.3', 'within_size'],
];

describe('random use of a mapped file', () => {
  for (const [fs, kernel, huge] of runs)
    for (const seed of [1])
      test(`${fs} ${huge} on ${kernel}, seed ${seed}`, () => {
        const world = new World(seed, fs, kernel, huge === '' ? 'never' : huge);
        for (let i = 0; i < STEPS; i++) {
          world.step();
          if (i % 4 !== 0 && i < STEPS - 1) continue;
          try {
            world.check();
          } catch (e) {
            throw new Error(`${fs} ${kernel} ${huge} seed ${seed} step ${i}, last ${world.did.slice(-5).join(' ')}`, {
              cause: e,
            });
          }
        }
      });
});

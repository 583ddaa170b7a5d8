/**
 * Random mmap, munmap, mprotect, mremap, fork and touches of one address space, against a plain model: for each page its rights
 * and the frame that holds what was stored there. The invariants are checked after every step, and at the end all memory is free.
 */
import { describe, expect, test } from 'vitest';
import { arm64_16k, x86_64, x86_64_la57 } from '../../src/arch/pgtable.ts';
import { Prng } from '../../src/base/prng.ts';
import { checkMachine } from '../../src/mm/check.ts';
import type { FileId, MmId } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { handleMmFault } from '../../src/mm/memory.ts';
import { checkMms } from '../../src/mm/mm_check.ts';
import { machine } from '../../src/mm/mm_init.ts';
import { mmAlloc } from '../../src/mm/mm_struct.ts';
import { doMmap, doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { doMprotect } from '../../src/mm/mprotect.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, mremap } from '../../src/mm/mremap.ts';
import { drainAllPages } from '../../src/mm/page_alloc_pcp.ts';
import { _PAGE_SPECIAL, accessPage, pmdLeaf, pmdOffset, pteFlags, pteOfPmd, ptePayload } from '../../src/mm/pgtable.ts';
import { release } from '../../src/mm/release.ts';
import { lruAddDrain } from '../../src/mm/swap.ts';
import { thpStore } from '../../src/mm/thp.ts';
import { VM_FAULT_ERROR, VM_FAULT_RETRY } from '../../src/mm/vm_fault.ts';
import { VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_WRITE, vmaLookup } from '../../src/mm/vma.ts';
import { V } from '../../src/mm/vmstat.ts';

const BASE = 2 ** 40;
const STEPS = 400;

/** Rights of a page, and the frame it must still have (0: nothing was stored). */
interface Page {
  rights: number;
  frame: number;
}

class World {
  readonly m: Machine;
  readonly mm: MmId;
  readonly pages = new Map<number, Page>();
  readonly size: number;
  /** Pages in the playground: three huge pages and a bit. */
  readonly room: number;
  readonly r: Prng;
  readonly free: number;
  private compared = 0;

  constructor(seed: number, geometry: typeof x86_64, thp: Record<string, string>) {
    this.r = new Prng(seed);
    this.size = 2 ** geometry.pageShift;
    this.m = machine({
      release: release('6.18'),
      pageSize: this.size,
      memory: this.size * 2 ** geometry.levels[0].bits * 40,
      thp: true,
      swappiness: 60,
      dirtyRatio: 20,
      dirtyBackgroundRatio: 10,
      pageTables: geometry,
    });
    for (const [name, value] of Object.entries(thp)) thpStore(this.m, name, value);
    this.free = this.m.vmstat[V.nr_free_pages];
    this.mm = mmAlloc(this.m);
    this.room = 3 * 2 ** geometry.levels[0].bits + 100;
  }

  addr(page: number): number {
    return BASE + page * this.size;
  }

  /** Frame at a page, 0 when none; the zero page is none. */
  frame(page: number): number {
    const { m } = this;
    const pmd = pmdOffset(m, this.mm, this.addr(page));
    if (pmd < 0) return 0;
    const huge = pmdLeaf(m, pmd);
    const e = huge ? pmd : pteOfPmd(m, pmd, this.addr(page));
    if (e < 0 || pteFlags(m, e) === 0 || (pteFlags(m, e) & _PAGE_SPECIAL) !== 0) return 0;
    return ptePayload(m, e) + (huge ? (this.addr(page) / this.size) & m.pt.pteMask : 0);
  }

  touch(page: number, write: boolean): boolean {
    const { m, mm } = this;
    const addr = this.addr(page);
    for (let tries = 0; tries < 10; tries++) {
      if (accessPage(m, mm, addr, write)) return true;
      const vma = vmaLookup(m, mm, addr);
      if (vma === 0) return false;
      const ret = handleMmFault(m, mm, vma, addr, write);
      if ((ret & VM_FAULT_RETRY) !== 0) continue;
      if ((ret & VM_FAULT_ERROR) !== 0) return false;
    }
    throw new Error('a touch comes to no end');
  }

  range(): [number, number] {
    const huge = this.m.pt.pteMask + 1;
    const from = this.r.below(3) === 0 ? this.r.below(4) * huge : this.r.below(this.room);
    const length = this.r.pick([1, 2, 16, 100, huge, huge, 2 * huge]);
    return [from, Math.min(length, this.room + huge - from)];
  }

  /** What the page tables and areas say must be what the model says; frames that appeared beside a store are taken over. */
  compare(): void {
    const { m, mm, pages } = this;
    if (this.compared++ % 8 === 0) checkMachine(m, true);
    else checkMms(m);
    for (let page = 0; page < 2 * this.room + 4096; page++) {
      const has = pages.get(page);
      const vma = vmaLookup(m, mm, this.addr(page));
      const rights = vma === 0 ? -1 : m.vmas.flags[vma] & (VM_READ | VM_WRITE);
      if (rights !== (has?.rights ?? -1)) throw new Error(`page ${page}: rights ${rights}, expected ${has?.rights}`);
      const frame = this.frame(page);
      if (has !== undefined && has.frame === 0) has.frame = frame;
      else if (frame !== (has?.frame ?? 0)) throw new Error(`page ${page}: frame ${frame}, expected ${has?.frame}`);
    }
  }

  step(): string {
    const { m, mm, r, pages } = this;
    const [from, n] = this.range();
    const what = r.below(100);
    if (what < 20) {
      const rights = r.pick([VM_READ | VM_WRITE, VM_READ | VM_WRITE, VM_READ]);
      const flags = rights | VM_MAYREAD | VM_MAYWRITE;
      const at = doMmap(m, mm, { addr: this.addr(from), length: n * this.size, flags, file: 0 as FileId, pgoff: 0 });
      expect(at).toBe(this.addr(from));
      for (let p = from; p < from + n; p++) pages.set(p, { rights, frame: 0 });
      return `mmap ${from}+${n} ${rights}`;
    }
    if (what < 30) {
      expect(doMunmap(m, mm, this.addr(from), n * this.size)).toBe(0);
      for (let p = from; p < from + n; p++) pages.delete(p);
      return `munmap ${from}+${n}`;
    }
    if (what < 45) {
      const rights = r.pick([VM_READ | VM_WRITE, VM_READ, 0]);
      const result = doMprotect(m, mm, this.addr(from), n * this.size, rights);
      let p = from;
      for (; p < from + n && pages.has(p); p++) (pages.get(p) as Page).rights = rights;
      expect(result === 0).toBe(p === from + n);
      return `mprotect ${from}+${n} ${rights}`;
    }
    if (what < 60) return this.move(from, n);
    if (what < 65) {
      const child = dupMm(m, mm);
      expect(child).not.toBe(0);
      checkMachine(m, true);
      mmput(m, child);
      return 'fork';
    }
    const write = r.below(3) > 0;
    const stride = r.pick([1, 1, 3, 40]);
    for (let p = from; p < from + Math.min(n, 64 * stride); p += stride) {
      const has = pages.get(p);
      const may = has !== undefined && (has.rights & (write ? VM_WRITE : VM_READ)) !== 0;
      expect([p, this.touch(p, write)]).toEqual([p, may]);
    }
    return `touch ${from}+${n}/${stride} ${write}`;
  }

  /** mremap to another place, or larger or smaller where it is. */
  move(from: number, n: number): string {
    const { m, mm, r, pages, size } = this;
    let inside = 0;
    const vma = vmaLookup(m, mm, this.addr(from));
    if (vma !== 0) inside = (m.vmas.end[vma] - this.addr(from)) / size;
    if (inside === 0) return 'nothing to move';
    const old = Math.min(n, inside);
    const length = r.pick([old, old, old, Math.max(1, old >> 1), old + 7]);
    const to = r.pick([this.room + 600 + (from & m.pt.pteMask), this.room + 700 + r.below(500)]);
    const clash = to < from + old && from < to + length;
    const result = mremap(
      m,
      mm,
      this.addr(from),
      old * size,
      length * size,
      MREMAP_MAYMOVE | MREMAP_FIXED,
      this.addr(to),
    );
    const fails = clash || (length > old && old > inside);
    expect(result).toBe(fails ? result : this.addr(to));
    if (result < 0) return `mremap ${from}+${old} fails ${result}`;
    const rights = (pages.get(from) as Page).rights;
    for (let p = to; p < to + length; p++) pages.delete(p);
    for (let p = 0; p < Math.max(old, length); p++) {
      const page = pages.get(from + p);
      if (p < old) pages.delete(from + p);
      if (p < length) pages.set(to + p, p < old && page !== undefined ? page : { rights, frame: 0 });
    }
    return `mremap ${from}+${old} to ${to}+${length}`;
  }

  end(): void {
    const { m } = this;
    mmput(m, this.mm);
    lruAddDrain(m);
    drainAllPages(m);
    checkMachine(m, true);
    expect(m.vmstat[V.nr_anon_pages]).toBe(0);
    expect(m.vmstat[V.nr_page_table_pages]).toBe(0);
    const zero = m.thp.hugeZeroFolio === 0 ? 0 : 1 << m.thp.pmdOrder;
    expect(m.vmstat[V.nr_free_pages] + zero).toBe(this.free);
  }
}

const all = { '2048kB': 'always', '64kB': 'always', '16kB': 'always' };
describe.each([
  ['single pages', x86_64, {}],
  ['huge pages', x86_64, { '2048kB': 'always' }],
  ['all sizes', x86_64, all],
  ['all sizes, five levels', x86_64_la57, all],
  ['arm64 with 16 KiB pages', arm64_16k, { '2048kB': 'always' }],
] as const)('%s', (_, geometry, thp) => {
  test.each([1, 2])('seed %i', (seed) => {
    const w = new World(seed, geometry, thp);
    const done: string[] = [];
    try {
      for (let i = 0; i < STEPS; i++) {
        done.push(w.step());
        w.compare();
      }
      w.end();
    } catch (error) {
      console.log(`seed ${seed}, steps: ${done.slice(-12).join('; ')}`);
      throw error;
    }
  });
});

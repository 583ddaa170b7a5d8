/**
 * One process of an access trace: its address space in the machine, and what the machine does not hold of it. A recording of
 * faults says nothing of files' contents and of what was cached, so files there are kept as ranges beside the address space
 * (*foreign*): a fault in one is counted as it was recorded, and a store to a private one makes a page of its own.
 */
import { QuireError } from '../base/errors.ts';
import type { FileId, MmId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { type Madvice, madvise } from '../mm/madvise.ts';
import { getMmRss, MM_ANONPAGES, mmAlloc } from '../mm/mm_struct.ts';
import { doMmap, doMunmap, dupMm, mmput } from '../mm/mmap.ts';
import { doMprotect } from '../mm/mprotect.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, mremap } from '../mm/mremap.ts';
import { VM_EXEC, VM_MAYEXEC, VM_MAYREAD, VM_MAYSHARE, VM_MAYWRITE, VM_READ, VM_SHARED, VM_WRITE } from '../mm/vma.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE, SHARED } from '../trace/event.ts';
import type { Device } from './device.ts';
import { TouchedPages } from './touched_pages.ts';

/** How far below its start the stack may grow: its usual limit. */
const STACK_MAX = 2 ** 23;

/** VM_* bits of a protection. */
export function vmFlagsOf(prot: number): number {
  const rights =
    ((prot & PROT_READ) !== 0 ? VM_READ : 0) |
    ((prot & PROT_WRITE) !== 0 ? VM_WRITE : 0) |
    ((prot & PROT_EXEC) !== 0 ? VM_EXEC : 0);
  return rights | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | ((prot & SHARED) !== 0 ? VM_SHARED | VM_MAYSHARE : 0);
}

/** A mapping that the machine does not hold. */
interface Foreign {
  readonly start: number;
  readonly end: number;
  readonly shared: boolean;
}

export class Space {
  readonly m: Machine;
  mm: MmId;
  touched: TouchedPages;
  /** Faults in foreign mappings, as they were recorded. */
  foreignFaults = 0;
  /** What was counted before the program began. */
  private minorBefore = 0;
  private majorBefore = 0;
  /** Pages of its own that it made of foreign ones. */
  private readonly own = new Set<number>();
  private foreign: Foreign[] = [];
  /** What the live kernel counted of files and shared memory, in bytes. */
  file = 0;
  shmem = 0;
  stackStart = -1;
  /** Its areas are known: it was started, or forked, within the trace. */
  known = false;
  /** At the largest resident size: bytes. */
  peak = 0;
  touchedAtPeak = 0;
  /** Of it, what the machine holds: without foreign mappings. */
  heldAtPeak = 0;
  pgtablesPeak = 0;
  /** Of a process that has ended; -1: it has not. */
  rssAtEnd = -1;
  touchedAtEnd = 0;
  /** What the live kernel said at its end; null: the trace did not say. */
  live: { readonly faults: number; readonly majorFaults: number; readonly rss: number; readonly peak: number } | null =
    null;
  private readonly device: Device;

  constructor(m: Machine, device: Device, mm: MmId = mmAlloc(m)) {
    if (mm === 0) throw new QuireError('ENOMEM', 'no memory for the page tables of the program');
    this.m = m;
    this.device = device;
    this.mm = mm;
    this.touched = new TouchedPages(m.geometry.userEnd);
  }

  /** Faults of the program, without those before it began. */
  get minor(): number {
    return this.foreignFaults + (this.m.mms.minFlt[this.mm] as number) - this.minorBefore;
  }
  get major(): number {
    return (this.m.mms.majFlt[this.mm] as number) - this.majorBefore;
  }

  /** Resident bytes. */
  rss(): number {
    const { m } = this;
    return (getMmRss(m, this.mm) + this.own.size) * m.config.pageSize + this.file + this.shmem;
  }

  anonPages(): number {
    return this.m.mms.rss[this.mm * 4 + MM_ANONPAGES] as number;
  }

  /** Looks whether this is the largest that it was. */
  look(): void {
    const rss = this.rss();
    if (rss > this.peak) {
      this.peak = rss;
      this.touchedAtPeak = this.touched.count;
      this.heldAtPeak = getMmRss(this.m, this.mm) * this.m.config.pageSize;
    }
    const tables = this.m.mms.pgtablesBytes[this.mm] as number;
    if (tables > this.pgtablesPeak) this.pgtablesPeak = tables;
  }

  /** Memory that the machine holds: anonymous, or of a file (0: none). */
  map(start: number, length: number, prot: number, file: FileId | 0, offset: number): void {
    const { m, mm } = this;
    const { pageSize } = m.config;
    this.dropForeign(start, start + length);
    // Where pages are larger than the recorded kernel's, ends are not on pages: what is shared goes to the first.
    const from = Math.ceil(start / pageSize) * pageSize;
    const to = Math.ceil((start + length) / pageSize) * pageSize;
    if (to <= from) return;
    const pgoff = Math.floor((offset + (from - start)) / pageSize);
    const result = doMmap(m, mm, {
      addr: from,
      length: to - from,
      flags: vmFlagsOf(prot),
      file: file as FileId,
      pgoff,
    });
    if (result < 0)
      throw new QuireError(
        'ENOMEM',
        `mmap at 0x${start.toString(16)} fails with error ${-result}: is it another machine's?`,
      );
  }

  /** A mapping beside the machine's. */
  mapForeign(start: number, length: number, shared: boolean): void {
    this.unmap(start, length);
    this.foreign.push({ start, end: start + length, shared });
    this.foreign.sort((a, b) => a.start - b.start);
  }

  unmap(start: number, length: number): void {
    const { pageSize } = this.m.config;
    const from = Math.ceil(start / pageSize) * pageSize;
    const to = Math.ceil((start + length) / pageSize) * pageSize;
    if (to > from) doMunmap(this.m, this.mm, from, to - from);
    this.dropForeign(start, start + length);
    this.touched.remove(start, start + length);
  }

  private dropForeign(start: number, end: number): void {
    this.dropOwn(start, end);
    if (!this.foreign.some((f) => f.start < end && f.end > start)) return;
    this.foreign = this.foreign.flatMap((f) => {
      if (f.start >= end || f.end <= start) return [f];
      const left = f.start < start ? [{ ...f, end: start }] : [];
      return f.end > end ? [...left, { ...f, start: end }] : left;
    });
  }

  private dropOwn(start: number, end: number): void {
    for (const page of this.own) if (page * 4096 >= start && page * 4096 < end) this.own.delete(page);
  }

  /** An access in a foreign mapping: true, and it was a fault when it was recorded. False: there is none. */
  foreignAccess(address: number, store: boolean): boolean {
    let low = 0;
    let high = this.foreign.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if ((this.foreign[mid] as Foreign).end <= address) low = mid + 1;
      else high = mid;
    }
    const f = this.foreign[low];
    if (f === undefined || f.start > address) return false;
    if (store && !f.shared) this.own.add(Math.floor(address / 4096));
    return true;
  }

  /** The stack grows down to the page of an address just below it. @kernel mm/mmap.c expand_stack (6.18) */
  growStack(address: number): boolean {
    const { pageSize } = this.m.config;
    const page = Math.floor(address / pageSize) * pageSize;
    if (this.stackStart < 0 || address >= this.stackStart || page < this.stackStart - STACK_MAX) return false;
    this.map(page, this.stackStart - page, PROT_READ | PROT_WRITE, 0, 0);
    this.stackStart = page;
    return true;
  }

  /** Runs of areas in [start, end), as [start, end] each. */
  private pieces(start: number, end: number): [number, number][] {
    const { mms, vmas } = this.m;
    const sorted = mms.sorted[this.mm] as Int32Array;
    const out: [number, number][] = [];
    for (let i = 0; i < (mms.nrVmas[this.mm] as number); i++) {
      const vma = sorted[i] as number;
      const from = Math.max(start, vmas.start[vma] as number);
      const to = Math.min(end, vmas.end[vma] as number);
      if (from >= to) continue;
      const last = out.at(-1);
      if (last !== undefined && last[1] === from) last[1] = to;
      else out.push([from, to]);
    }
    return out;
  }

  protect(start: number, length: number, prot: number): void {
    const rights = vmFlagsOf(prot) & (VM_READ | VM_WRITE | VM_EXEC);
    for (const [from, to] of this.pieces(start, start + length)) doMprotect(this.m, this.mm, from, to - from, rights);
  }

  advise(start: number, length: number, advice: Madvice): void {
    const { m, mm, device } = this;
    for (const [from, to] of this.pieces(start, start + length)) {
      let result = madvise(m, mm, from, to - from, advice);
      while (result > 0 && device.waitFor(m.wait)) result = madvise(m, mm, from, to - from, advice);
    }
    if (advice !== 'dontneed') return;
    this.dropOwn(start, start + length);
    this.touched.remove(start, start + length);
  }

  /** mremap to a known place. */
  move(start: number, length: number, to: number, newLength: number): void {
    const { m, mm } = this;
    if (this.pieces(start, start + 1).length === 0) {
      const f = this.foreign.find((x) => x.start <= start && x.end > start);
      this.unmap(start, length);
      if (f !== undefined) this.mapForeign(to, newLength, f.shared);
      return;
    }
    if (to === start) {
      if (newLength < length) this.unmap(start + newLength, length - newLength);
      else mremap(m, mm, start, length, newLength, 0, 0);
      return;
    }
    this.touched.remove(to, to + newLength);
    mremap(m, mm, start, length, newLength, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    this.touched.move(start, start + Math.min(length, newLength), to);
    this.touched.remove(start, start + length);
  }

  fork(): Space {
    const mm = dupMm(this.m, this.mm);
    const child = new Space(this.m, this.device, mm);
    child.touched = this.touched.copy(this.m.geometry.userEnd);
    child.foreign = [...this.foreign];
    for (const page of this.own) child.own.add(page);
    child.file = this.file;
    child.shmem = this.shmem;
    child.stackStart = this.stackStart;
    child.known = this.known;
    return child;
  }

  /** A new program: nothing is mapped, nothing counted. */
  exec(): void {
    mmput(this.m, this.mm);
    this.mm = mmAlloc(this.m);
    if (this.mm === 0) throw new QuireError('ENOMEM', 'no memory for the page tables of the program');
    this.touched = new TouchedPages(this.m.geometry.userEnd);
    this.foreign = [];
    this.own.clear();
    this.file = 0;
    this.shmem = 0;
    this.stackStart = -1;
    this.known = true;
    this.begin();
    this.peak = 0;
    this.pgtablesPeak = 0;
  }

  /** Faults count from here on. */
  begin(): void {
    this.foreignFaults = 0;
    this.minorBefore = this.m.mms.minFlt[this.mm] as number;
    this.majorBefore = this.m.mms.majFlt[this.mm] as number;
  }

  /** What it was at its end stays to be read; its memory goes. */
  end(): void {
    this.rssAtEnd = this.rss();
    this.touchedAtEnd = this.touched.count;
    mmput(this.m, this.mm);
  }
}

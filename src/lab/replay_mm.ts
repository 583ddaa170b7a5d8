/**
 * The memory of the program that is replayed: mappings as an ops script numbers them, and what its loads and stores do. A touch
 * asks the page tables first, as a processor would, and only then the fault handler; where the kernel would wait for I/O, the
 * device lets time pass.
 */
import { QuireError } from '../base/errors.ts';
import { shmemZeroSetup, Tmpfs } from '../fs/tmpfs.ts';
import { gupTouch } from '../mm/gup.ts';
import { type FileId, type MappingId, type MmId, NO_FOLIO } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { madvise } from '../mm/madvise.ts';
import { handleMmFault } from '../mm/memory.ts';
import { doMlock } from '../mm/mlock_vma.ts';
import { mmAlloc } from '../mm/mm_struct.ts';
import { doMmap, doMunmap, dupMm, getUnmappedArea, mmput } from '../mm/mmap.ts';
import { doMprotect } from '../mm/mprotect.ts';
import { accessPage, accessPages } from '../mm/pgtable.ts';
import { lruAddDrain } from '../mm/swap.ts';
import { truncateInodePagesRange } from '../mm/truncate.ts';
import { VM_FAULT_ERROR, VM_FAULT_MAJOR, VM_FAULT_OOM, VM_FAULT_RETRY } from '../mm/vm_fault.ts';
import {
  VM_EXEC,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
  vmaLookup,
} from '../mm/vma.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE, SHARED } from '../trace/event.ts';
import type { Device } from './device.ts';

/** A fault takes the processor about this long, a load or store in a page this. */
const FAULT_NS = 500;
const TOUCH_NS = 20;
/** From the end of an I/O until who waited for it runs again. Disks end requests in groups: what was asked for a little later has ended by then, too. */
const WAKE_NS = 40_000;
/** Where the recorder puts mappings: this boundary, plus what the script says. */
const BOUNDARY = 2 ** 21;
/** What the recorder reserves beyond a mapping's length to find such a place. */
const ROOM = 2 ** 22;

/**
 * After a fork the recorder itself stores into its stack, heap and library data, and each page faults once: nine faults after the
 * first fork, six or seven after others (measured). They are in the count of faults that it prints.
 */
const FORK_FAULTS_FIRST = 2.5;
const FORK_FAULTS = 6.5;

/** A mapping of the script: where it is, and its length in bytes. It stays where it was when it is unmapped. */
export interface ScriptMap {
  readonly addr: number;
  readonly length: number;
}

/** VM_* bits of a protection. */
const protFlags = (prot: number): number =>
  ((prot & PROT_READ) !== 0 ? VM_READ : 0) |
  ((prot & PROT_WRITE) !== 0 ? VM_WRITE : 0) |
  ((prot & PROT_EXEC) !== 0 ? VM_EXEC : 0);

export class ReplayMm {
  readonly m: Machine;
  readonly mm: MmId;
  /** By number of the script. */
  readonly maps = new Map<number, ScriptMap>();
  /** What could not be done, by name, with how often. */
  readonly skipped: Record<string, number>;
  /** Faults of the recorder's own pages. */
  ownFaults = 0;
  outOfMemory = 0;
  /** Pages at the start of the recorder's I/O buffer that reads have stored to since the last fork. */
  private bufferPages = Number.POSITIVE_INFINITY;
  private ended = false;
  private readonly device: Device;
  /** Files behind shared anonymous memory, and where they are. */
  private readonly anonymous: FileId[] = [];
  private mount: Tmpfs | null = null;

  constructor(m: Machine, device: Device, skipped: Record<string, number>) {
    this.m = m;
    this.device = device;
    this.skipped = skipped;
    this.mm = mmAlloc(m);
    if (this.mm === 0) throw new QuireError('ENOMEM', 'no memory for the page tables of the program');
  }

  /** An error of a call, which the recorder would have stopped at, is counted. */
  private check(result: number, what: string): boolean {
    if (result < 0) this.skip(`${what} that the kernel refuses`);
    return result >= 0;
  }

  private skip(what: string): void {
    this.skipped[what] = (this.skipped[what] ?? 0) + 1;
  }

  /** mmap of `length` bytes at `offset` of a file (0: anonymous memory), `at` bytes past a boundary. */
  mmap(id: number, file: FileId, offset: number, length: number, arg: number, at: number, writable: boolean): void {
    const { m, mm } = this;
    const size = m.config.pageSize;
    const base = getUnmappedArea(m, mm, length + ROOM, 0 as FileId, 0);
    if (!this.check(base, 'mmap')) return;
    let flags = protFlags(arg) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
    if ((arg & SHARED) !== 0) {
      flags |= VM_SHARED | VM_MAYSHARE;
      // A file that is not open for writing: no store will ever be shared. @kernel mm/mmap.c do_mmap (6.18)
      if (!writable) flags &= ~(VM_MAYWRITE | VM_SHARED);
    }
    const addr = Math.ceil(base / BOUNDARY) * BOUNDARY + at;
    // Shared memory of no file is a file of the kernel's own mount of tmpfs, as long as somebody maps it.
    const backing = file === 0 && (arg & SHARED) !== 0 ? this.shmem(length) : file;
    const mapped = this.check(doMmap(m, mm, { addr, length, flags, file: backing, pgoff: offset / size }), 'mmap');
    if (backing !== file) (m.files.count[backing] as number)--;
    if (!mapped) return;
    this.maps.set(id, { addr, length });
  }

  /** The mapping's address plus an offset; below zero: it is not there, which is counted. */
  private at(id: number, offset: number): number {
    const map = this.maps.get(id);
    if (map === undefined) this.skip('operation on a mapping that is not there');
    return map === undefined ? -1 : map.addr + offset;
  }

  private shmem(length: number): FileId {
    this.mount ??= new Tmpfs('never', true);
    const file = shmemZeroSetup(this.m, this.mount, length);
    this.anonymous.push(file);
    return file;
  }

  munmap(id: number, offset: number, length: number): void {
    const { m, anonymous } = this;
    const start = this.at(id, offset);
    if (start < 0) return;
    this.check(doMunmap(m, this.mm, start, length), 'munmap');
    for (let i = anonymous.length - 1; i >= 0; i--) {
      const file = anonymous[i] as FileId;
      if (m.files.count[file] !== 0) continue;
      truncateInodePagesRange(m, m.files.mapping[file] as MappingId, 0, Number.POSITIVE_INFINITY);
      anonymous.splice(i, 1);
    }
  }

  mprotect(id: number, offset: number, length: number, arg: number): void {
    // The recorder gives the right to read, whatever is asked.
    const prot = VM_READ | ((arg & PROT_WRITE) !== 0 ? VM_WRITE : 0);
    const start = this.at(id, offset);
    if (start >= 0) this.check(doMprotect(this.m, this.mm, start, length, prot), 'mprotect');
  }

  mlock(id: number, offset: number, length: number): void {
    const start = this.at(id, offset);
    if (start >= 0 && this.check(doMlock(this.m, this.mm, start, length, true), 'mlock')) this.populate(start, length);
  }

  madvise(id: number, offset: number, length: number, advice: string): void {
    const start = this.at(id, offset);
    if (start < 0) return;
    let result = madvise(this.m, this.mm, start, length, advice as never);
    while (result > 0) {
      this.sleep();
      result = madvise(this.m, this.mm, start, length, advice as never);
    }
    // Nothing to collapse is an error that the recorder passes over.
    if (advice !== 'collapse') this.check(result, `madvise ${advice}`);
  }

  /** A child that exits at once. */
  fork(): void {
    const child = dupMm(this.m, this.mm);
    if (child === 0) {
      this.outOfMemory++;
      return;
    }
    mmput(this.m, child);
    this.ownFaults += this.ownFaults === 0 ? FORK_FAULTS_FIRST + FORK_FAULTS : FORK_FAULTS;
    this.bufferPages = 0;
  }

  /** Would a read store to pages of the recorder's buffer that a fork has left write-protected? */
  get bufferProtected(): boolean {
    return this.bufferPages < Number.POSITIVE_INFINITY;
  }

  /** A read has put so many bytes into the recorder's buffer: after a fork each page of it faults once. */
  filled(bytes: number): void {
    const pages = Math.ceil(bytes * this.m.pagesPerByte);
    if (pages <= this.bufferPages) return;
    this.ownFaults += pages - this.bufferPages;
    this.bufferPages = pages;
  }

  /** The program ends; its memory goes. Afterwards nothing else can be done with it. */
  exit(): void {
    if (this.ended) return;
    this.ended = true;
    mmput(this.m, this.mm);
  }

  /** One load or store in each page of the range, in order. */
  touch(id: number, offset: number, length: number, write: boolean): void {
    const { m, mm } = this;
    const size = m.config.pageSize;
    const from = this.at(id, 0);
    if (from < 0) return;
    const end = from + offset + length;
    for (let at = from + Math.floor(offset / size) * size; ; at += size) {
      const stop = accessPages(m, mm, at, end, write);
      m.now += TOUCH_NS * Math.ceil((stop - at) * m.pagesPerByte);
      if (stop >= end) return;
      at = stop;
      if (!this.fault(at, write)) return;
    }
  }

  /** Exceptions, until the access goes through; false: a signal ended it. @kernel arch/x86/mm/fault.c do_user_addr_fault (6.18) */
  private fault(addr: number, write: boolean, populating = false): boolean {
    const { m } = this;
    do {
      m.now += FAULT_NS;
      m.vmf.tried = false;
      for (let first = true; ; first = false) {
        const vma = vmaLookup(m, this.mm, addr);
        if (vma === 0) return this.signal();
        const result = handleMmFault(m, this.mm, vma, addr, write);
        if ((result & VM_FAULT_RETRY) !== 0) {
          // mlock begins anew after each wait. @kernel mm/gup.c __mm_populate (6.18)
          m.vmf.tried = !populating && ((result & VM_FAULT_MAJOR) !== 0 || !first);
          if (populating) lruAddDrain(m);
          this.sleep();
          continue;
        }
        if ((result & VM_FAULT_ERROR) === 0) break;
        if ((result & VM_FAULT_OOM) === 0) return this.signal();
        this.outOfMemory++;
        return false;
      }
    } while (!accessPage(m, this.mm, addr, write));
    return true;
  }

  /** Sleeps until the folio Machine.wait (0: none) is free; what has ended by then is answered. */
  private sleep(): void {
    const { m, device } = this;
    if (m.wait !== NO_FOLIO) {
      if (!device.waitFor(m.wait)) throw new QuireError('EIO', 'the program waits for a folio that nothing frees');
      m.now += WAKE_NS;
    }
    device.poll();
  }

  private signal(): false {
    this.skip('access that ends in a signal');
    return false;
  }

  /** Faults in what is missing, as mlock does: stores where the memory is private and writable. @kernel mm/gup.c populate_vma_page_range (6.18) */
  private populate(start: number, length: number): void {
    const { m } = this;
    const size = m.config.pageSize;
    for (let addr = start - (start % size); addr < start + length; addr += size) {
      const vma = vmaLookup(m, this.mm, addr);
      if (vma === 0) return;
      const write = ((m.vmas.flags[vma] as number) & (VM_WRITE | VM_SHARED)) === VM_WRITE;
      if (gupTouch(m, this.mm, addr, write)) continue;
      if (!this.fault(addr, write, true)) return;
      gupTouch(m, this.mm, addr, write);
    }
    lruAddDrain(m);
  }
}

/**
 * Replays a trace of memory accesses: each goes through the TLBs of the CPUs that are asked for, on a miss through the page
 * tables of the modelled program, and where they have nothing to the fault handler. All CPUs of one pass see one machine: what
 * differs between them is only what they keep.
 *
 *     batch ──► memo ──► TLB of CPU 1 ──► page tables ──► handleMmFault
 *                  └───► TLB of CPU 2 ──┘
 *
 * Without a CPU (recordings of faults hold no more than first touches, so their TLB misses mean nothing) the tables are asked
 * directly.
 */
import { type Cpu, cpuNamed } from '../arch/cpus.ts';
import { entryDrop, type Pass, pass, settle } from '../arch/memo.ts';
import { arm64_4k, arm64_16k, arm64_64k, type PageTableGeometry, x86_64 } from '../arch/pgtable.ts';
import { END, tlbOverlapping } from '../arch/tlb.ts';
import { tlbFlushes } from '../arch/tlbflush.ts';
import { flushAsid, forget, invalidate, skip, switchTo, translate } from '../arch/translate.ts';
import { type Translator, translator, type WalkedTables } from '../arch/walk.ts';
import { QuireError } from '../base/errors.ts';
import { largeFolioOrders } from '../fs/filesystems.ts';
import { mount } from '../fs/mount.ts';
import type { FileId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { memcgCreate } from '../mm/memcontrol.ts';
import { handleMmFault } from '../mm/memory.ts';
import { inodeInit, machine, openFile } from '../mm/mm_init.ts';
import { accessPage, pmdLeaf, pmdOffset } from '../mm/pgtable.ts';
import { release } from '../mm/release.ts';
import { thpStore } from '../mm/thp.ts';
import { VM_FAULT_ERROR, VM_FAULT_MAJOR, VM_FAULT_OOM, VM_FAULT_RETRY } from '../mm/vm_fault.ts';
import { vmaLookup } from '../mm/vma.ts';
import { type Accesses, type AccessSource, FETCH, GROWSDOWN, MODIFY, type SpaceEvent, STORE } from '../trace/access.ts';
import { defaultSettings, MADVICE, SHARED } from '../trace/event.ts';
import type { Area } from './access_areas.ts';
import { Space } from './access_space.ts';
import { Device } from './device.ts';
import { setupSwap } from './replay_swap.ts';
import { type Resolved, resolve, type Settings } from './settings.ts';
import { TOUCHED_PAGE } from './touched_pages.ts';

const FAULT_NS = 500;
const ACCESS_NS = 1;
/** A fault that comes back without a translation this often never gets one. */
const TRIES = 8;

/** The CPU whose TLB is counted when none is asked for: one that has such pages. */
export const defaultCpu = (pageSize: number): string => (pageSize === 4096 ? 'zen4' : 'neoverse-v2');

export const geometryFor = (cpu: Cpu | null, pageSize: number): PageTableGeometry => {
  if (pageSize === 65536) return arm64_64k;
  if (pageSize === 16384) return arm64_16k;
  return cpu?.arch === 'arm64' ? arm64_4k : x86_64;
};

/** The settings but the CPU, which is no part of the machine here. Throws for what means nothing to a recording of faults. */
function withoutCpu({ cpu, ...set }: Settings, told: boolean): Settings {
  const refuse = (name: string, why: string): never => {
    throw new QuireError('EOPNOTSUPP', `${name} has no effect: ${why}`);
  };
  if (told && cpu !== undefined)
    refuse('cpu', 'a recording of faults holds first touches only, no TLB can be counted from it');
  if (told)
    for (const [name, value] of [
      ['fs', set.fs],
      ['block-size', set.blockSize],
      ['readahead', set.readahead],
    ] as const)
      if (value !== undefined) refuse(name, 'in a recording of faults, files are as they were recorded');
  return set;
}

/** What the program runs in, when the trace does not tell: `areas`. */
export class AccessReplay {
  readonly m: Machine;
  readonly device: Device;
  readonly settings: Resolved;
  readonly translators: readonly Translator[];
  /** Accesses, and those among them that a data TLB sees. */
  accesses = 0;
  dataAccesses = 0;
  readonly skipped: Record<string, number> = {};
  outOfMemory = 0;
  /** Anonymous folios that faults put in, by order. */
  readonly anonByOrder = new Float64Array(16);
  /** All processes that were, in the order of their first mention. */
  readonly spaces: Space[] = [];
  onBatch: ((accesses: number) => void) | null = null;

  private readonly source: AccessSource;
  private readonly byPid = new Map<number, Space>();
  private space: Space;
  private readonly pass: Pass | null;
  /** By CPU: the tables that it walks, and their top. */
  private readonly tables: WalkedTables[];
  private readonly tops: Int32Array;
  private readonly told: boolean;

  constructor(source: AccessSource, set: Settings, areas: readonly Area[], cpus: readonly string[]) {
    this.source = source;
    this.told = source.told;
    this.settings = resolve(defaultSettings(), withoutCpu(set, source.told));
    const s = this.settings;
    const models = cpus.map(cpuNamed);
    const geometry = geometryFor(models[0] ?? null, s.pageSize);
    if (models.some((cpu) => cpu.arch !== models[0]?.arch))
      throw new QuireError('EINVAL', 'CPUs of two architectures in one pass');
    this.m = machine({
      release: release(s.kernel),
      pageSize: s.pageSize,
      memory: s.memory,
      thp: true,
      swappiness: s.swappiness,
      lru: s.lru,
      memmap: s.memmap,
      dirtyRatio: 20,
      dirtyBackgroundRatio: 10,
      pageTables: geometry,
    });
    this.m.contents = true;
    this.m.contentsUnknown = models.length > 0;
    for (const [name, value] of Object.entries(s.thp)) thpStore(this.m, name, value);
    this.device = new Device(this.m);
    if (s.swap !== null) setupSwap(this.m, { ...s.swap, data: true });
    this.m.io = this.device;
    if (s.memcg > 0) this.m.currentMemcg = memcgCreate(this.m, Math.floor(s.memcg / s.pageSize));
    this.translators = models.map((cpu) => translator(cpu, geometry));
    this.pass = models.length === 0 ? null : pass(this.translators);
    const arch = geometry.name.startsWith('arm64') ? 'arm64' : 'x86_64';
    const tlb = tlbFlushes({ arch }, geometry, models[0]?.rangeFlush !== false);
    const p = this.pass;
    if (p !== null) tlb.forget = (mm, start, end, tables) => this.flushed(p, mm, start, end, tables);
    this.m.tlb = tlb;
    this.tables = models.map(() => this.m.pt);
    this.tops = new Int32Array(models.length);
    this.space = this.newSpace();
    if (!source.told) {
      this.spaces.push(this.space);
      this.mapAreas(areas);
    }
    this.switchTo(this.space);
  }

  private newSpace(): Space {
    return new Space(this.m, this.device);
  }

  private switchTo(space: Space): void {
    this.space = space;
    if (this.m.tlb !== null) this.m.tlb.loaded = space.mm;
    if (this.pass === null) return;
    switchTo(this.pass, space.mm);
    this.tops.fill(this.m.mms.pgd[space.mm] as number);
  }

  /** Every file is a file of its own on the file system of the settings, none of it cached. */
  private mapAreas(areas: readonly Area[]): void {
    const { m, settings: s } = this;
    const fs = mount(s.fs, s.huge);
    const orders = largeFolioOrders(s.fs, release(s.kernel).name, {
      blockSize: s.blockSize,
      pageSize: s.pageSize,
      thp: true,
    });
    const sizes = new Map<string, number>();
    for (const a of areas)
      if (a.file !== '') sizes.set(a.file, Math.max(sizes.get(a.file) ?? 0, a.offset + a.end - a.start));
    const files = new Map<string, FileId>();
    for (const [name, size] of sizes) {
      const mapping = inodeInit(m, {
        ops: fs,
        size,
        minOrder: orders.min,
        maxOrder: orders.max,
        blkbits: Math.log2(s.blockSize),
        raPages: Math.floor(s.readahead / s.pageSize),
        ioPages: Math.floor(s.ioSize / s.pageSize),
      });
      files.set(name, openFile(m, mapping, 0 as FileId));
    }
    for (const a of areas) this.space.map(a.start, a.end - a.start, a.prot, files.get(a.file) ?? 0, a.offset);
  }

  /** Replays all that is left. */
  run(): void {
    for (let batch = this.source.next(); batch !== null; batch = this.source.next()) this.play(batch);
    for (const [name, n] of Object.entries(this.source.skipped)) this.skipped[name] = (this.skipped[name] ?? 0) + n;
    if (this.pass !== null) settle(this.pass);
    this.space.look();
  }

  play(batch: Accesses): void {
    if (batch.count > 0) {
      if (this.pass !== null) this.translated(batch, this.pass);
      else this.direct(batch);
      this.accesses += batch.count;
      this.m.now += batch.count * ACCESS_NS;
      this.device.poll();
      this.onBatch?.(this.accesses);
    }
    if (batch.event !== null) this.happen(batch.event);
  }

  private translated(batch: Accesses, p: Pass): void {
    const { address, size, kind, count } = batch;
    const { tables, tops } = this;
    const { touched } = this.space;
    let row = 0;
    for (;;) {
      row = translate(p, tables, tops, address, size, kind, row, count);
      // Pages that are no larger than those that are counted: what the memo knows was counted when it came to know it.
      if (p.pageBytes === TOUCHED_PAGE) touched.addRows(address, size, p.fresh, p.freshCount, !p.crossed);
      if (row === count) break;
      if (!this.resolveFault(p)) row = skip(p, row);
    }
    if (p.pageBytes !== TOUCHED_PAGE) touched.addAll(address, size, count);
  }

  /** The fault of a CPU; false: the access cannot be made. */
  private resolveFault(p: Pass): boolean {
    const { m, space } = this;
    const { faultAddress, faultStore, faultFetch } = p;
    // What a store finds mapped and may not write to is replaced: the old translation goes; upper entries may stay.
    const stale = faultStore && accessPage(m, space.mm, faultAddress, false);
    const huge = stale && pmdLeaf(m, pmdOffset(m, space.mm, faultAddress));
    if (!this.fault(faultAddress, faultStore, faultFetch)) return false;
    if (stale) {
      const bytes = huge ? 2 ** m.pt.pmdShift : m.config.pageSize;
      const start = Math.floor(faultAddress / bytes) * bytes;
      for (const [c, { tlb }] of p.translators.entries())
        for (let v = 0; v < tlb.l2Views; v++)
          tlbOverlapping(tlb, v, start, start + bytes, tlb.asid, (a, s) => entryDrop(p, c, a, s));
    }
    return true;
  }

  /** The engine flushes: what every CPU's TLB forgets. */
  private flushed(p: Pass, mm: number, start: number, end: number, tables: boolean): void {
    for (const [c, { asids }] of this.translators.entries()) {
      const asid = asids.indexOf(mm);
      if (asid < 0) continue;
      if (end === END) flushAsid(p, c, asid);
      else invalidate(p, c, start, end, tables, asid);
    }
  }

  /** Accesses straight at the tables: of one after the other in one page, the first is enough. */
  private direct(batch: Accesses): void {
    const { m, space } = this;
    const { address, size, kind, count } = batch;
    const { pageSize } = m.config;
    let lastPage = -1;
    let lastStore = false;
    for (let i = 0; i < count; i++) {
      const k = kind[i] as number;
      const at = address[i] as number;
      const store = k === STORE || k === MODIFY;
      const end = at + (size[i] as number);
      for (let page = Math.floor(at / pageSize); page * pageSize < end; page++) {
        if (!this.told && page === lastPage && (lastStore || !store)) continue;
        lastPage = page;
        lastStore = store;
        const addr = Math.max(at, page * pageSize);
        if (accessPage(m, space.mm, addr, store) || this.fault(addr, store, k === FETCH)) space.touched.add(addr);
      }
    }
  }

  /** Exceptions, until the access goes through; false: a signal would have ended it. @kernel arch/x86/mm/fault.c do_user_addr_fault (6.18) */
  private fault(addr: number, store: boolean, fetch: boolean): boolean {
    const { m, space, device } = this;
    const before = space.anonPages();
    for (let tries = 0; tries < TRIES; tries++) {
      m.now += FAULT_NS;
      m.vmf.tried = false;
      for (let first = true; ; first = false) {
        const vma = vmaLookup(m, space.mm, addr);
        if (vma === 0) {
          if (first && space.foreignAccess(addr, store)) {
            space.foreignFaults++;
            space.look();
            return false;
          }
          if (first && space.growStack(addr)) continue;
          // A process from before the trace's beginning: only that it faults is known.
          if (this.told && !space.known) {
            space.foreignFaults++;
            return false;
          }
          return this.signal('access outside of every area');
        }
        const result = handleMmFault(m, space.mm, vma, addr, store);
        if ((result & VM_FAULT_RETRY) !== 0) {
          if ((result & VM_FAULT_MAJOR) !== 0 || !first) m.vmf.tried = true;
          if (m.wait !== 0 && !device.waitFor(m.wait))
            throw new QuireError('EIO', 'a fault waits for a folio that nothing frees');
          continue;
        }
        if ((result & VM_FAULT_ERROR) !== 0) {
          if ((result & VM_FAULT_OOM) === 0)
            return this.signal(`${fetch ? 'fetch' : store ? 'store' : 'load'} that is not allowed`);
          this.outOfMemory++;
          return false;
        }
        break;
      }
      if (!accessPage(m, space.mm, addr, store)) continue;
      const pages = space.anonPages() - before;
      if (pages > 0) {
        const order = 31 - Math.clz32(pages);
        this.anonByOrder[order] = (this.anonByOrder[order] as number) + 1;
      }
      space.look();
      return true;
    }
    return this.signal('access without end');
  }

  private signal(what: string): false {
    this.skipped[what] = (this.skipped[what] ?? 0) + 1;
    return false;
  }

  private happen(e: SpaceEvent): void {
    const { space } = this;
    switch (e.op) {
      case 'process':
        this.switchTo(this.process(e.pid));
        return;
      case 'map':
        if (e.file !== '' || (e.prot & SHARED) !== 0) space.mapForeign(e.address, e.length, (e.prot & SHARED) !== 0);
        else space.map(e.address, e.length, e.prot, 0, 0);
        if ((e.prot & GROWSDOWN) !== 0) space.stackStart = e.address;
        break;
      case 'unmap':
        space.unmap(e.address, e.length);
        break;
      case 'protect':
        space.protect(e.address, e.length, e.prot);
        break;
      case 'advise':
        space.advise(e.address, e.length, MADVICE[e.advice] as (typeof MADVICE)[number]);
        break;
      case 'move':
        space.move(e.address, e.length, e.to, e.newLength);
        break;
      case 'fork': {
        const child = space.fork();
        this.byPid.set(e.pid, child);
        this.spaces.push(child);
        break;
      }
      case 'exec':
        if (this.pass !== null) forget(this.pass, space.mm);
        space.exec();
        this.switchTo(space);
        break;
      case 'begin':
        space.begin();
        break;
      case 'counts':
        if (e.file >= 0) space.file = e.file;
        if (e.shmem >= 0) space.shmem = e.shmem;
        break;
      case 'exit':
        this.exit(space, e);
        return;
    }
    space.look();
  }

  private process(pid: number): Space {
    let space = this.byPid.get(pid);
    if (space === undefined) {
      space = this.newSpace();
      this.byPid.set(pid, space);
      this.spaces.push(space);
    }
    return space;
  }

  private exit(space: Space, e: Extract<SpaceEvent, { op: 'exit' }>): void {
    space.look();
    space.live = e;
    if (this.pass !== null) forget(this.pass, space.mm);
    space.end();
    for (const [pid, s] of this.byPid) if (s === space) this.byPid.delete(pid);
  }

  /** Resident bytes of all that is there now, and faults so far. */
  rss(): number {
    return this.spaces.reduce((sum, s) => sum + (s.rssAtEnd >= 0 ? 0 : s.rss()), 0);
  }
  faults(): number {
    return this.spaces.reduce((sum, s) => sum + s.minor + s.major, 0);
  }

  /** The process with the largest resident size. */
  get main(): Space {
    return this.spaces.reduce((a, b) => (b.peak > a.peak ? b : a), this.spaces[0] ?? this.space);
  }
}

/** A small machine with one file, for tests that read and write it. */

import { mount } from '../../src/fs/mount.ts';
import { Device } from '../../src/lab/device.ts';
import { ReplayMm } from '../../src/lab/replay_mm.ts';
import { mapResult } from '../../src/lab/result_maps.ts';
import type { AddressSpaceOperations } from '../../src/mm/address_space.ts';
import { kiocb, READ_WAIT } from '../../src/mm/filemap.ts';
import { type FileId, type MappingId, type MmId, NO_FOLIO, type VmaId } from '../../src/mm/ids.ts';
import type { Machine } from '../../src/mm/machine.ts';
import { inodeInit, machine, openFile } from '../../src/mm/mm_init.ts';
import { doMmap } from '../../src/mm/mmap.ts';
import { release } from '../../src/mm/release.ts';
import { VM_MAYREAD, VM_MAYSHARE, VM_MAYWRITE, VM_READ, VM_SHARED, vmaLookup } from '../../src/mm/vma.ts';

export interface FileWorld {
  readonly m: Machine;
  readonly device: Device;
  readonly ops: AddressSpaceOperations;
  readonly mapping: MappingId;
  readonly file: FileId;
  read(pos: number, length: number): void;
  write(pos: number, length: number): void;
  /**
   * Maps the whole file, shared unless said otherwise, `at` pages past a 2 MiB boundary, in an address space of its own; `flags`
   * are VM_* bits.
   */
  map(flags: number, options?: { private?: boolean; at?: number; length?: number }): Mapped;
  /** Calls until it has been done. */
  wait(call: () => boolean): void;
}

export interface Mapped {
  readonly mm: MmId;
  readonly vma: VmaId;
  readonly addr: number;
  /** The program's faults so far: minor, major. */
  faults(): [number, number];
  /** What the page tables hold: [page of the file, pages] of each run of one folio. */
  mapped(): [number, number][];
  /** A load or store at a page of the file. */
  touch(page: number, write?: boolean): void;
}

/** Sizes in bytes, windows in pages. */
export function fileWorld(c: {
  kernel?: string;
  fs?: string;
  /** Mount option of tmpfs. */
  huge?: string;
  memory?: number;
  size: number;
  minOrder?: number;
  maxOrder?: number;
  raPages: number;
  ioPages: number;
}): FileWorld {
  const m = machine({
    release: release(c.kernel ?? '6.18'),
    pageSize: 4096,
    memory: c.memory ?? 2 ** 30,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
  });
  const device = new Device(m);
  m.io = device;
  const ops = mount(c.fs ?? 'xfs', c.huge ?? 'never');
  const minOrder = c.minOrder ?? 0;
  const mapping = inodeInit(m, {
    ops,
    size: c.size,
    minOrder,
    maxOrder: c.maxOrder ?? 9,
    blkbits: 12 + minOrder,
    raPages: c.raPages,
    ioPages: c.ioPages,
  });
  const file = openFile(m, mapping, 0);
  return {
    m,
    device,
    ops,
    mapping,
    file,
    read(pos, length) {
      device.drain();
      const k = kiocb(file, pos, length);
      while (ops.read(m, k) === READ_WAIT) device.waitFor(m.wait);
    },
    write(pos, length) {
      device.drain();
      for (let at = pos; at < pos + length; ) {
        m.wait = NO_FOLIO;
        at += ops.write(m, file, at, pos + length - at);
        if (m.wait !== NO_FOLIO) device.waitFor(m.wait);
      }
    },
    wait(call) {
      for (m.wait = NO_FOLIO; !call(); m.wait = NO_FOLIO) device.waitFor(m.wait);
      device.drain();
    },
    map(flags, options = {}) {
      const program = new ReplayMm(m, device, {});
      const rights = VM_READ | VM_MAYREAD | VM_MAYWRITE;
      const protection = options.private === true ? rights : rights | VM_SHARED | VM_MAYSHARE;
      const from = 2 ** 30 + (options.at ?? 0) * 4096;
      const length = options.length ?? c.size;
      const request = { addr: from, length, flags: protection | flags, file, pgoff: 0 };
      const addr = doMmap(m, program.mm, request);
      program.maps.set(1, { addr, length });
      return {
        mm: program.mm,
        vma: vmaLookup(m, program.mm, addr),
        addr,
        faults: () => [m.mms.minFlt[program.mm] as number, m.mms.majFlt[program.mm] as number],
        mapped: () =>
          mapResult(m, program.mm, 1, { addr, length: Math.ceil(length / 4096) * 4096 }).folios.map(([page, order]) => [
            page,
            order < 0 ? -order : 2 ** order,
          ]),
        touch(page, write = false) {
          device.drain();
          program.touch(1, page * 4096, 1, write);
        },
      };
    },
  };
}

/** What the page cache does, in the words of golden/linux-6.18/vectors.jsonl. */
export type TraceEvent = [string, ...number[]];

/** Collects a machine's events from now on. */
export function collect(m: Machine): TraceEvent[] {
  const events: TraceEvent[] = [];
  m.tracer = {
    addToPageCache: (_m, index, order) => events.push(['+', index, order]),
    deleteFromPageCache: () => {},
    syncRa: (_m, index, req) => events.push(['S', index, req]),
    asyncRa: (_m, index, req) => events.push(['A', index, req]),
    raOrder: (_m, index, order, size, ahead) => events.push(['O', index, order, size, ahead]),
    raUnbounded: (_m, index, nr, lookahead) => events.push(['U', index, nr, lookahead]),
    filemapFault: (_m, index) => events.push(['F', index]),
  };
  return events;
}

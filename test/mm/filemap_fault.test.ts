/** Faults on mapped files: what is read, what is mapped, what becomes dirty. */
import { describe, expect, it } from 'vitest';
import { checkMachine } from '../../src/mm/check.ts';
import { filemapGetFolio } from '../../src/mm/filemap.ts';
import { madviseRemove, madviseWillneed } from '../../src/mm/madvise_file.ts';
import { folioOrder, folioTest } from '../../src/mm/mm_types.ts';
import { PG } from '../../src/mm/page_flags.ts';
import { _PAGE_DIRTY, _PAGE_RW, pmdLeaf, pmdOffset, pteFlags, pteOffset } from '../../src/mm/pgtable.ts';
import { VM_EXEC, VM_HUGEPAGE, VM_RAND_READ, VM_WRITE } from '../../src/mm/vma.ts';
import { V } from '../../src/mm/vmstat.ts';
import { collect, type FileWorld, fileWorld } from '../lab/file_world.ts';

const MiB = 2 ** 20;
const disk = { raPages: 32, ioPages: 320 };

/** Pages of the file that are cached, as runs [first, after the last]. */
function cached(w: FileWorld): [number, number][] {
  const runs: [number, number][] = [];
  const pages = Math.ceil((w.m.spaces.size[w.mapping] as number) / 4096);
  for (let i = 0; i < pages; i++) {
    if (filemapGetFolio(w.m, w.mapping, i) === 0) continue;
    const last = runs.at(-1);
    if (last?.[1] === i) last[1]++;
    else runs.push([i, i + 1]);
  }
  return runs;
}
const orderAt = (w: FileWorld, page: number): number => folioOrder(w.m.map, filemapGetFolio(w.m, w.mapping, page));
const dirty = (w: FileWorld, page: number): boolean =>
  folioTest(w.m.map, filemapGetFolio(w.m, w.mapping, page), PG.PG_dirty);
const fsync = (w: FileWorld): void => w.wait(() => w.ops.fsync(w.m, w.mapping));

describe('a load from a page that is not cached', () => {
  it('reads a window around it, in single pages, and maps what lies in the 16 pages about it', () => {
    const w = fileWorld({ ...disk, size: 4 * MiB });
    const map = w.map(0);
    map.touch(500);
    expect(cached(w)).toEqual([[484, 516]]);
    expect(orderAt(w, 500)).toBe(0);
    expect(map.mapped()).toEqual(Array.from({ length: 16 }, (_, i) => [496 + i, 1]).filter(([p]) => p !== 508));
    expect(map.faults()).toEqual([0, 1]);
    expect(w.m.vmstat[V.pgmajfault]).toBe(1);
    checkMachine(w.m, true);
  });

  it('does not read around once misses outnumber hits by a hundred; fault-around counts as hits', () => {
    const w = fileWorld({ ...disk, size: 64 * MiB });
    const map = w.map(VM_WRITE);
    for (let i = 0; i <= 100; i++) map.touch(i * 100 + 50, true);
    expect(cached(w).slice(-2)).toEqual([
      [9934, 9966],
      [10050, 10051],
    ]);
    for (let i = 0; i < 20; i++) map.touch(i * 100 + 40);
    map.touch(15000);
    expect(cached(w).at(-1)).toEqual([14984, 15016]);
  });

  it('reads forward only, inside the area, when the memory is executable', () => {
    const w = fileWorld({ ...disk, size: 4 * MiB });
    w.map(VM_EXEC).touch(1000);
    expect(cached(w)).toEqual([[1000, 1024]]);
  });

  it('before 6.16 executable memory is read around as any other', () => {
    const w = fileWorld({ ...disk, kernel: '6.12', size: 4 * MiB });
    w.map(VM_EXEC).touch(500);
    expect(cached(w)[0]?.[0]).toBe(484);
  });

  it('reads the page alone with MADV_RANDOM, two folios of 2 MiB with MADV_HUGEPAGE', () => {
    const w = fileWorld({ ...disk, size: 8 * MiB });
    w.map(VM_RAND_READ).touch(5);
    expect(cached(w)).toEqual([[5, 6]]);
    w.map(VM_HUGEPAGE, { at: 0 }).touch(700);
    expect([orderAt(w, 512), orderAt(w, 1024)]).toEqual([9, 9]);
  });

  it('behind the end of the file is a signal, and counts as no fault', () => {
    const w = fileWorld({ ...disk, size: 8192 });
    const map = w.map(0);
    w.wait(() => w.ops.setSize(w.m, w.mapping, 4096));
    map.touch(1);
    expect(map.faults()).toEqual([0, 0]);
    expect(cached(w)).toEqual([]);
  });
});

describe('a load from a large folio', () => {
  const large = (kernel: string): FileWorld => {
    const w = fileWorld({ ...disk, kernel, size: 0 });
    w.write(0, 4 * MiB);
    fsync(w);
    return w;
  };

  it('maps it whole by one entry where memory and file are aligned alike', () => {
    const w = fileWorld({ ...disk, size: 4 * MiB + 4096 });
    w.map(VM_HUGEPAGE).touch(3);
    const map = w.map(0);
    map.touch(600);
    expect(pmdLeaf(w.m, pmdOffset(w.m, map.mm, map.addr + 600 * 4096))).toBe(true);
    expect(map.mapped()).toEqual([[512, 512]]);
    expect(w.m.vmstat[V.nr_file_pmdmapped]).toBe(2);
    checkMachine(w.m, true);
  });

  it('maps it whole by pages elsewhere (6.18), as far as one page table reaches', () => {
    const w = fileWorld({ ...disk, size: 4 * MiB + 4096 });
    w.map(VM_HUGEPAGE).touch(3);
    const map = w.map(0, { at: 256 });
    map.touch(600);
    expect(map.mapped()).toEqual([[592, 16]]);
    const half = fileWorld({ ...disk, size: 4 * MiB });
    half.write(MiB, 65536);
    const other = half.map(0, { at: 16 });
    other.touch(257);
    expect(other.mapped()).toEqual([[256, 16]]);
  });

  it('before 6.18 fault-around stayed in its window, and a fault mapped one page', () => {
    const w = fileWorld({ ...disk, kernel: '6.12', size: 8 * MiB });
    w.write(0, 256 * 1024);
    expect(orderAt(w, 0)).toBeGreaterThan(4);
    const map = w.map(VM_WRITE);
    map.touch(20);
    expect(map.mapped()).toEqual([[16, 16]]);
    map.touch(40, true);
    expect(map.mapped()).toEqual([
      [16, 16],
      [40, 1],
    ]);
    expect(large('6.12').m.release.finishFault).toBe('shmem');
  });

  it('the last one is mapped whole by a fault, not by fault-around', () => {
    const w = fileWorld({ ...disk, size: 128 * 1024 });
    w.write(0, 128 * 1024);
    expect(orderAt(w, 0)).toBe(5);
    const map = w.map(VM_WRITE);
    // There is no page table yet, so fault-around maps nothing and the fault does it.
    map.touch(3);
    expect(map.mapped()).toEqual([[0, 32]]);
  });
});

describe('a store into a shared mapping', () => {
  for (const fs of ['xfs', 'ext4', 'btrfs', 'tmpfs'])
    it(`makes the whole folio dirty, once: ${fs}`, () => {
      const w = fileWorld({ ...disk, fs, size: 0, maxOrder: fs === 'btrfs' ? 0 : 9 });
      w.write(0, 512 * 1024);
      fsync(w);
      const order = orderAt(w, 0);
      const world = w.m;
      const size = world.spaces.size[w.mapping] as number;
      const map = w.map(VM_WRITE, { length: size });
      const before = w.device.writtenBytes;
      map.touch(1, true);
      expect(dirty(w, 1)).toBe(true);
      expect(map.mapped()[0]).toEqual([order === 0 ? 1 : 0, 2 ** order]);
      fsync(w);
      const entry = pteOffset(world, map.mm, map.addr + 4096);
      if (fs === 'tmpfs') expect(dirty(w, 1)).toBe(true);
      else {
        expect(w.device.writtenBytes - before).toBe(4096 << order);
        expect(dirty(w, 1)).toBe(false);
        expect(pteFlags(world, entry) & (_PAGE_RW | _PAGE_DIRTY)).toBe(0);
        // The next store is noticed: by its page alone.
        map.touch(1, true);
        expect(dirty(w, 1)).toBe(true);
        expect(pteFlags(world, entry) & _PAGE_RW).toBe(_PAGE_RW);
      }
      checkMachine(w.m, true);
    });

  it('reserves blocks in a hole', () => {
    const w = fileWorld({ ...disk, size: 0 });
    w.wait(() => w.ops.setSize(w.m, w.mapping, MiB));
    const map = w.map(VM_WRITE, { length: MiB });
    map.touch(10, true);
    expect(dirty(w, 10)).toBe(true);
    expect(w.device.readBytes).toBe(0);
    fsync(w);
    expect(w.device.writtenBytes).toBe(4096);
    checkMachine(w.m, true);
  });
});

describe('a store into a private mapping', () => {
  it('copies the page and leaves the file alone', () => {
    const w = fileWorld({ ...disk, size: MiB });
    const map = w.map(VM_WRITE, { private: true });
    map.touch(7);
    map.touch(7, true);
    map.touch(100, true);
    expect(dirty(w, 7)).toBe(false);
    expect(w.m.vmstat[V.nr_anon_pages]).toBe(2);
    // A hole takes the file's pages away and leaves the copies; a shorter file takes both.
    w.wait(() => w.ops.punchHole(w.m, w.mapping, 0, 200 * 4096));
    expect(map.mapped()).toEqual([
      [7, 1],
      [100, 1],
    ]);
    w.wait(() => w.ops.setSize(w.m, w.mapping, 50 * 4096));
    expect(map.mapped()).toEqual([[7, 1]]);
    expect(w.m.vmstat[V.nr_anon_pages]).toBe(1);
    checkMachine(w.m, true);
  });
});

describe('tmpfs', () => {
  it('a load makes the page; huge=always makes 2 MiB where the area holds them', () => {
    const w = fileWorld({ raPages: 0, ioPages: 0, fs: 'tmpfs', huge: 'always', size: 0 });
    w.wait(() => w.ops.setSize(w.m, w.mapping, 3 * MiB));
    const map = w.map(VM_WRITE, { length: 3 * MiB });
    map.touch(5);
    map.touch(600);
    expect([orderAt(w, 5), orderAt(w, 600)]).toEqual([9, 0]);
    expect(map.mapped()[0]).toEqual([0, 512]);
    expect(w.m.vmstat[V.nr_shmem]).toBe(513);
    checkMachine(w.m, true);
  });
});

describe('advice', () => {
  it('MADV_WILLNEED reads single pages ahead, MADV_REMOVE punches a hole', () => {
    const w = fileWorld({ ...disk, size: 4 * MiB });
    const map = w.map(VM_WRITE);
    const events = collect(w.m);
    madviseWillneed(w.m, map.vma, map.addr + 40960, map.addr + 81920);
    expect(events[0]).toEqual(['U', 10, 10, 0]);
    w.device.drain();
    map.touch(12);
    w.wait(() => madviseRemove(w.m, map.vma, map.addr + 12 * 4096, map.addr + 14 * 4096) === 0);
    expect(cached(w)).toEqual([
      [10, 12],
      [14, 20],
    ]);
    expect(map.mapped().map(([p]) => p)).toEqual([10, 11, 14, 15]);
    const other = w.map(0, { private: true });
    expect(madviseRemove(w.m, other.vma, other.addr, other.addr + 4096)).toBe(-13);
  });
});

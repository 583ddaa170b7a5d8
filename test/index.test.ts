/** The engine by its public names alone, as a program that installs the package sees it: an address space, from mmap to exit. */
import { expect, test } from 'vitest';
import {
  accessPage,
  checkMachine,
  doMmap,
  doMunmap,
  dupMm,
  type FileId,
  folioOrder,
  getMmRss,
  handleMmFault,
  lruAddDrain,
  type Machine,
  type MmId,
  MTHP,
  machine,
  machineCensus,
  madvise,
  mmAlloc,
  mmput,
  mthpStat,
  ownerPieces,
  type Pfn,
  pageFolio,
  pinUserPages,
  release,
  thpStore,
  unpinUserPages,
  VM_FAULT_ERROR,
  VM_FAULT_RETRY,
  VM_MAYREAD,
  VM_MAYWRITE,
  VM_READ,
  VM_WRITE,
  vmaLookup,
} from '../src/index.ts';

const PAGE = 4096;
const MIB = 2 ** 20;

function store(m: Machine, mm: MmId, addr: number): void {
  while (!accessPage(m, mm, addr, true)) {
    const fault = handleMmFault(m, mm, vmaLookup(m, mm, addr), addr, true);
    expect(fault & VM_FAULT_ERROR & ~VM_FAULT_RETRY).toBe(0);
  }
}

test('anonymous memory: folios of 64 KiB, a child that copies one page, a pin, advice, exit', () => {
  const m = machine({
    release: release('6.18'),
    pageSize: PAGE,
    memory: 256 * MIB,
    thp: true,
    swappiness: 60,
    dirtyRatio: 20,
    dirtyBackgroundRatio: 10,
  });
  m.contents = true;
  thpStore(m, 'top', 'never');
  thpStore(m, '64kB', 'always');
  const free = machineCensus(m);
  const mm = mmAlloc(m);
  const flags = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE;
  const addr = doMmap(m, mm, { addr: -1, length: 4 * MIB, flags, file: 0 as FileId, pgoff: 0 });
  expect(addr % PAGE).toBe(0);
  for (let at = addr; at < addr + 4 * MIB; at += 65536) store(m, mm, at);
  expect(getMmRss(m, mm)).toBe(1024);
  expect(mthpStat(m, 4, MTHP.anon_fault_alloc)).toBe(64);
  expect(ownerPieces(machineCensus(m), 'anon')).toBe(64);

  const pins: number[] = [];
  expect(pinUserPages(m, mm, addr, 1, true, pins)).toBe(1);
  expect(folioOrder(m.map, pageFolio(m.map, pins[0] as Pfn))).toBe(4);
  unpinUserPages(m, pins, true);

  const child = dupMm(m, mm);
  store(m, child, addr);
  // The child has a folio of one page of its own for what it stored to, the rest is shared.
  expect(ownerPieces(machineCensus(m), 'anon')).toBe(65);
  mmput(m, child);

  expect(madvise(m, mm, addr, 2 * MIB, 'dontneed')).toBe(0);
  expect(getMmRss(m, mm)).toBe(512);
  expect(doMunmap(m, mm, addr, 4 * MIB)).toBe(0);
  mmput(m, mm);
  // A folio may still wait in a CPU's batch.
  lruAddDrain(m);
  checkMachine(m, true);
  expect(ownerPieces(machineCensus(m), 'anon')).toBe(ownerPieces(free, 'anon'));
});

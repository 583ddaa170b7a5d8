import { describe, expect, test } from 'vitest';
import { arm64_4k, arm64_16k, arm64_64k, type PageTableGeometry, x86_64 } from '../../src/arch/pgtable.ts';
import { checkMachine } from '../../src/mm/check.ts';
import { madvise } from '../../src/mm/madvise.ts';
import { doMunmap, dupMm, mmput } from '../../src/mm/mmap.ts';
import { doMprotect } from '../../src/mm/mprotect.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE, mremap } from '../../src/mm/mremap.ts';
import { _PAGE_ACCESSED, _PAGE_DIRTY, PTE_CONT, pteFlags, pteOffset, setPteFlags } from '../../src/mm/pgtable.ts';
import { VM_READ, VM_WRITE } from '../../src/mm/vma.ts';
import { area, type MemoryWorld, memoryWorld, touch } from './memory_world.ts';

const BASE = 2 ** 40;

/** An area of `pages` pages whose faults make folios of `size`. */
function world(size: string, g: PageTableGeometry = arm64_4k, kernel = '6.18', pages = 256): MemoryWorld {
  const w = memoryWorld({ all: 'never', top: 'always', [size]: 'always' }, 16384, g, kernel);
  area(w, BASE, BASE + pages * w.m.config.pageSize);
  return w;
}
const at = (w: MemoryWorld, page: number): number => BASE + page * w.m.config.pageSize;
const raw = (w: MemoryWorld, page: number, mm = w.mm): number => {
  const e = pteOffset(w.m, mm, at(w, page));
  return e < 0 ? 0 : (w.m.pt.entries[e * 2 + 1] as number);
};
/** Pages of [0, n) whose entries carry the hint. */
function hinted(w: MemoryWorld, n = 256, mm = w.mm): string {
  checkMachine(w.m, true);
  const runs: string[] = [];
  for (let p = 0; p < n; p++) {
    let to = p;
    while (to < n && (raw(w, to, mm) & PTE_CONT) !== 0) to++;
    if (to > p) runs.push(`${p}+${to - p}`);
    p = Math.max(p, to);
  }
  return runs.join(' ');
}

describe('a fault that maps a large folio', () => {
  test('folds whole blocks: 64k folios of 4k pages', () => {
    const w = world('64k');
    touch(w.m, w.mm, at(w, 5), true);
    touch(w.m, w.mm, at(w, 40), true);
    expect(hinted(w)).toBe('0+16 32+16');
  });

  test('smaller folios fold nothing, larger ones each block', () => {
    const small = world('32k');
    for (let p = 0; p < 64; p += 8) touch(small.m, small.mm, at(small, p), true);
    expect(hinted(small)).toBe('');
    const large = world('256k');
    touch(large.m, large.mm, at(large, 70), true);
    expect(hinted(large)).toBe('64+64');
  });

  test.each([
    [arm64_16k, '2m', '0+128'],
    [arm64_64k, '2m', '0+32'],
  ] as const)('granule of $name', (g, size, runs) => {
    const w = world(size, g);
    touch(w.m, w.mm, at(w, 3), true);
    expect(hinted(w)).toBe(runs);
  });

  test('not on x86; not before 6.9, where a huge page that is split shows it', () => {
    const w = world('64k', x86_64);
    touch(w.m, w.mm, at(w, 5), true);
    expect(hinted(w)).toBe('');
    for (const [kernel, runs] of [
      ['6.6', ''],
      ['6.18', '0+16 32+480'],
    ] as const) {
      const split = memoryWorld({ top: 'always' }, 16384, arm64_4k, kernel);
      area(split, BASE, BASE + 2 ** 21);
      touch(split.m, split.mm, at(split, 5), true);
      madvise(split.m, split.mm, at(split, 20), 4096, 'dontneed');
      expect(hinted(split, 512)).toBe(runs);
    }
  });
});

describe('a change of a part unfolds its block', () => {
  function folded(): MemoryWorld {
    const w = world('64k');
    for (let p = 0; p < 64; p += 16) touch(w.m, w.mm, at(w, p), true);
    expect(hinted(w)).toBe('0+64');
    return w;
  }

  test('munmap and MADV_DONTNEED', () => {
    const w = folded();
    doMunmap(w.m, w.mm, at(w, 10), 10 * 4096);
    expect(hinted(w)).toBe('32+32');
    madvise(w.m, w.mm, at(w, 32), 4096, 'dontneed');
    expect(hinted(w)).toBe('48+16');
    madvise(w.m, w.mm, at(w, 48), 16 * 4096, 'dontneed');
    expect(hinted(w)).toBe('');
  });

  test('mprotect; when the whole block is alike again it is folded again', () => {
    const w = folded();
    doMprotect(w.m, w.mm, at(w, 20), 4 * 4096, VM_READ);
    expect(hinted(w)).toBe('0+16 32+32');
    doMprotect(w.m, w.mm, at(w, 16), 16 * 4096, VM_READ);
    expect(hinted(w)).toBe('0+64');
    doMprotect(w.m, w.mm, at(w, 0), 32 * 4096, 0);
    expect(hinted(w)).toBe('32+32');
  });

  test('fork keeps blocks in both; a store then copies a page and unfolds the parent alone', () => {
    const w = folded();
    const child = dupMm(w.m, w.mm);
    expect([hinted(w), hinted(w, 256, child)]).toEqual(['0+64', '0+64']);
    touch(w.m, w.mm, at(w, 17), true);
    expect([hinted(w), hinted(w, 256, child)]).toEqual(['0+16 32+32', '0+64']);
    mmput(w.m, child);
    // Reuse changes one page's right to write.
    touch(w.m, w.mm, at(w, 40), true);
    expect(hinted(w)).toBe('0+16 48+16');
  });

  test('mremap: folded where the new place is aligned, too', () => {
    const w = folded();
    const to = 2 ** 41;
    mremap(w.m, w.mm, at(w, 0), 32 * 4096, 32 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to + 16 * 4096);
    const e = pteOffset(w.m, w.mm, to + 16 * 4096);
    expect((w.m.pt.entries[e * 2 + 1] as number) & PTE_CONT).toBe(PTE_CONT);
    mremap(w.m, w.mm, at(w, 32), 32 * 4096, 32 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 ** 30 + 4096);
    const odd = pteOffset(w.m, w.mm, to + 2 ** 30 + 16 * 4096);
    expect((w.m.pt.entries[odd * 2 + 1] as number) & PTE_CONT).toBe(0);
    checkMachine(w.m, true);
  });
});

test("accessed and dirty are the block's: found in one entry, cleared in all, kept when it unfolds", () => {
  const w = world('64k');
  touch(w.m, w.mm, at(w, 0), true);
  const e = pteOffset(w.m, w.mm, at(w, 0));
  const used = _PAGE_ACCESSED | _PAGE_DIRTY;
  setPteFlags(w.m, e + 3, pteFlags(w.m, e + 3) & ~used);
  for (let i = 0; i < 16; i++) expect(pteFlags(w.m, e + i) & used).toBe(0);
  expect(hinted(w)).toBe('0+16');
  // The processor marks one entry.
  touch(w.m, w.mm, at(w, 9), false);
  expect(raw(w, 2) & used).toBe(0);
  expect([pteFlags(w.m, e + 2) & used, pteFlags(w.m, e + 2) & PTE_CONT]).toEqual([_PAGE_ACCESSED, 0]);
  doMprotect(w.m, w.mm, at(w, 15), 4096, VM_READ | VM_WRITE);
  doMprotect(w.m, w.mm, at(w, 15), 4096, VM_READ);
  expect(hinted(w)).toBe('');
  for (let i = 0; i < 16; i++) expect(raw(w, i) & used).toBe(_PAGE_ACCESSED);
});

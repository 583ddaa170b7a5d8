/**
 * Memory for a cache in huge pages. What is read at random out of hundreds of megabytes misses the processor's TLB each time when it
 * lies in pages of 4 KiB: as much time as a part of the copy. Databases ask for huge pages for their buffers, and so can a cache:
 * the memory is an ordinary buffer, and Linux is told (madvise) that huge pages are wanted for it. It gives them when they are
 * first touched, as far as it has some.
 */
import { readFileSync } from 'node:fs';
import type { BufferMaker } from '../cache_bytes.ts';
import { CacheError } from '../errors.ts';

const CONTROLS = '/sys/kernel/mm/transparent_hugepage';
const MADV_HUGEPAGE = 14;

const no = (why: string): CacheError => new CacheError('NO_HUGE_PAGES', `huge pages: ${why}`);

/**
 * Gives `PageCache` its `buffer` in huge pages. Needs Linux with transparent huge pages (`madvise` or `always`), and the package koffi;
 * a CacheError NO_HUGE_PAGES says what is missing.
 *
 *     const cache = new PageCache({ memory: '4GiB', buffer: await hugePages() });
 */
export async function hugePages(): Promise<BufferMaker> {
  if (process.platform !== 'linux') throw no(`only Linux has them, this is ${process.platform}`);
  const [enabled, size] = [control('enabled'), Number(control('hpage_pmd_size'))];
  if (enabled.includes('[never]')) throw no(`${CONTROLS}/enabled is never, expected madvise or always`);
  const libc = await openLibc();
  return (bytes) => {
    // One more than is wanted, so that it can begin where a huge page does.
    const buffer = new ArrayBuffer(bytes + size);
    const address = libc.address(new Uint8Array(buffer));
    const start = Math.ceil(address / size) * size;
    if (libc.madvise(start, Math.floor(bytes / size) * size, MADV_HUGEPAGE) !== 0)
      throw no(`madvise fails with error ${libc.errno()}`);
    return new Uint8Array(buffer, start - address, bytes);
  };
}

interface Libc {
  readonly address: (bytes: Uint8Array) => number;
  readonly madvise: (at: number, length: number, advice: number) => number;
  readonly errno: () => number;
}

async function openLibc(): Promise<Libc> {
  try {
    const koffi = (await import('koffi')).default;
    return {
      // A process's own addresses lie below 2^53.
      address: (bytes) => Number(koffi.address(bytes)),
      madvise: koffi.load(null).func('int madvise(uint64_t at, size_t length, int advice)'),
      errno: () => koffi.errno(),
    };
  } catch {
    throw no('the optional package koffi is not installed, or does not run here');
  }
}

function control(name: string): string {
  try {
    return readFileSync(`${CONTROLS}/${name}`, 'utf8').trim();
  } catch {
    throw no(`this kernel has no ${CONTROLS}/${name}`);
  }
}

/** The system calls of a recording of faults that change an address space. Numbers are those of x86-64. */
import { ADDRESS_END, count, type SpaceEvent } from './access.ts';
import { MADVICE, PROT_EXEC, PROT_READ, PROT_WRITE, SHARED } from './event.ts';

/** Names by number, as the kernel's table for x86-64 has them. */
export const callsOf: Readonly<Record<number, string>> = {
  9: 'mmap',
  10: 'mprotect',
  11: 'munmap',
  12: 'brk',
  25: 'mremap',
  28: 'madvise',
  56: 'clone',
  57: 'fork',
  58: 'vfork',
  59: 'execve',
  322: 'execveat',
  435: 'clone3',
};

const MAP_SHARED = 0x01;
const MAP_ANONYMOUS = 0x20;
const MAP_GROWSDOWN = 0x100;
const MAP_STACK = 0x20000;
const MAP_POPULATE = 0x8000;
const MAP_HUGETLB = 0x40000;

/** Advice by number. @kernel include/uapi/asm-generic/mman-common.h MADV_DONTNEED (6.18) */
const adviceOf: Readonly<Record<number, (typeof MADVICE)[number]>> = {
  0: 'normal',
  1: 'random',
  2: 'sequential',
  3: 'willneed',
  4: 'dontneed',
  8: 'free',
  9: 'remove',
  14: 'hugepage',
  15: 'nohugepage',
  20: 'cold',
  21: 'pageout',
  22: 'populate_read',
  23: 'populate_write',
  25: 'collapse',
};

const whole = (bytes: number): number => Math.ceil(bytes / 4096) * 4096;
const protOf = (bits: number): number => bits & (PROT_READ | PROT_WRITE | PROT_EXEC);

/** What a call that went well did; its arguments and result as the kernel had them. */
export function callEvent(
  name: string,
  args: readonly number[],
  result: number,
  skipped: Record<string, number>,
): SpaceEvent[] {
  const [a = 0, b = 0, c = 0, d = 0] = args;
  if (!(a + whole(b) < ADDRESS_END && result < ADDRESS_END)) return [];
  switch (name) {
    case 'mmap': {
      const flags = d;
      if ((flags & MAP_HUGETLB) !== 0) {
        count(skipped, 'mmap of hugetlb pages');
        return [];
      }
      const prot = protOf(c) | ((flags & MAP_SHARED) !== 0 ? SHARED : 0) | ((flags & MAP_GROWSDOWN) !== 0 ? 16 : 0);
      const file = (flags & MAP_ANONYMOUS) !== 0 ? '' : 'file';
      const length = whole(b);
      const map: SpaceEvent = { op: 'map', address: result, length, prot, file };
      const events: SpaceEvent[] = [map];
      const advise = (advice: (typeof MADVICE)[number]): void => {
        events.push({ op: 'advise', address: result, length, advice: MADVICE.indexOf(advice) });
      };
      // Stacks of threads have no huge pages. @kernel include/linux/mman.h calc_vm_flag_bits (6.18)
      if ((flags & MAP_STACK) !== 0) advise('nohugepage');
      if ((flags & MAP_POPULATE) !== 0 && file === '')
        advise((prot & PROT_WRITE) !== 0 ? 'populate_write' : 'populate_read');
      return events;
    }
    case 'munmap':
      return [{ op: 'unmap', address: a, length: whole(b) }];
    case 'mprotect':
      return [{ op: 'protect', address: a, length: whole(b), prot: protOf(c) }];
    case 'mremap':
      return [{ op: 'move', address: a, length: whole(b), to: result, newLength: whole(c) }];
    case 'madvise': {
      const advice = adviceOf[c];
      if (advice === undefined) {
        count(skipped, `madvise ${c}`);
        return [];
      }
      return [{ op: 'advise', address: a, length: whole(b), advice: MADVICE.indexOf(advice) }];
    }
    default:
      return [];
  }
}

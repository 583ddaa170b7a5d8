/** The words of a report, a line each. The tables' headings lead here. */
import type { FigureName } from './compare_figures.ts';

interface Term {
  readonly id: string;
  readonly word: string;
  readonly meaning: string;
}

export const terms: readonly Term[] = [
  {
    id: 'page',
    word: 'page',
    meaning: 'The unit of memory and of a file’s place in it: 4 KiB unless the settings say otherwise.',
  },
  {
    id: 'folio',
    word: 'folio',
    meaning:
      'A power of two of pages, side by side in memory and naturally aligned, that Linux handles as one: one entry on the lists, one lock, one set of flags.',
  },
  {
    id: 'order',
    word: 'order',
    meaning:
      'A folio’s size: order n is 2ⁿ pages. With 4 KiB pages, order 0 is 4 KiB, order 4 is 64 KiB, order 9 is 2 MiB.',
  },
  {
    id: 'amplification',
    word: 'amplification',
    meaning:
      'Bytes that moved between device and cache over bytes that the program read or wrote. Above 1 the device moved more than was asked for; below 1 the cache answered, or writes were joined or are not written back yet.',
  },
  {
    id: 'request',
    word: 'request',
    meaning: 'One read or write that reached the device, after neighbouring pages were joined.',
  },
  {
    id: 'readahead',
    word: 'readahead',
    meaning:
      'Pages read before they are asked for. Its window is the device’s setting; the kernel decides how much of it to use, and in folios of which order.',
  },
  {
    id: 'added',
    word: 'added, deleted',
    meaning: 'Folios put into the page cache, and pages that left it: reclaimed, truncated or invalidated.',
  },
  {
    id: 'refault',
    word: 'refault',
    meaning:
      'A page read again after reclaim had taken it away: what too little memory costs. Counted as workingset_refault_file in /proc/vmstat.',
  },
  {
    id: 'activated',
    word: 'activated',
    meaning: 'Pages moved to the active list because they were used again (pgactivate).',
  },
  {
    id: 'failed',
    word: 'failed',
    meaning: 'Operations that did not do all they were asked to, since no memory could be had.',
  },
  {
    id: 'lru',
    word: 'LRU lists',
    meaning:
      'Two lists of cached folios, inactive and active, that reclaim walks from their old ends. A folio is one element whatever its order, so fewer folios mean shorter lists for the same memory.',
  },
  { id: 'dirty', word: 'dirty', meaning: 'Pages that the program has written and the device has not.' },
  {
    id: 'memcg',
    word: 'limit (memcg)',
    meaning: 'The memory limit of the program’s control group: page cache counts against it.',
  },
  {
    id: 'memmap',
    word: 'memory map',
    meaning:
      'What the kernel keeps for every page of the machine, used or not: 64 bytes a page in the layout that is modelled.',
  },
  {
    id: 'operation',
    word: 'operation',
    meaning:
      'One system call of the recording. Pictures over time count time in operations, so that the same place is the same moment for every setting.',
  },
  {
    id: 'counted',
    word: 'counted',
    meaning:
      'The figure was counted while the model replayed the recording. It is neither measured on a device nor a time.',
  },
];

const termOf: Readonly<Partial<Record<FigureName, string>>> = {
  read_pages: 'page',
  read_amplification: 'amplification',
  reads: 'request',
  written_pages: 'page',
  write_amplification: 'amplification',
  writes: 'request',
  added_folios: 'folio',
  added_pages: 'page',
  deleted_pages: 'added',
  refaulted_pages: 'refault',
  activated_pages: 'activated',
  out_of_memory: 'failed',
  cached_pages: 'page',
  cached_folios: 'folio',
  lru_folios: 'lru',
  lru_pages: 'lru',
  memmap_bytes: 'memmap',
};

/** Text (HTML) that leads to the meaning of a figure, where it has one. */
export function linked(name: FigureName, html: string): string {
  const id = termOf[name];
  return id === undefined ? html : `<a href="#term-${id}">${html}</a>`;
}

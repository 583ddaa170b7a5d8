import { expect, test } from 'vitest';
import { renewed, tagsOf } from '../../tools/dictionary.ts';

const source = `/** The file's own idea. @kernel mm/swap.c lru_cache (6.18) */
import x from './x.ts';

/**
 * Adds.
 * @kernel mm/swap.c folio_add_lru, struct folio_batch (6.12-6.18)
 */
export function folioAddLru(n: number): number {
  // @kernel mm/swap.c lru_add (6.18)
  const m = n + 1;
  if (m > 2) {
    // @kernel mm/swap.c folio_batch_add (6.18)
    return m;
  }
  return n;
}
/** A limit. @kernel include/linux/pagevec.h PAGEVEC_SIZE (6.18) */
export const BATCH = 31;
export interface Lists {
  /** Moves. @kernel mm/swap.c lru_move (6.18) */
  move: number;
}
// @kernel swap.c without a release
// @kernel mm/swap.c a b (6.18)
`;

test('a tag names the declaration that it stands on or in', () => {
  const { entries, malformed } = tagsOf('src/mm/swap.ts', source);
  expect(entries.map((e) => [e.kernelName, e.name, e.release])).toEqual([
    ['lru_cache', '', '6.18'],
    ['folio_add_lru', 'folioAddLru', '6.12-6.18'],
    ['struct folio_batch', 'folioAddLru', '6.12-6.18'],
    ['lru_add', 'folioAddLru', '6.18'],
    ['folio_batch_add', 'folioAddLru', '6.18'],
    ['PAGEVEC_SIZE', 'BATCH', '6.18'],
    ['lru_move', 'move', '6.18'],
  ]);
  expect(malformed).toEqual([
    'src/mm/swap.ts:23: @kernel swap.c without a release',
    'src/mm/swap.ts:24: @kernel mm/swap.c a b (6.18)',
  ]);
});

test('the table is made anew and the words above it stay', () => {
  const { entries } = tagsOf('src/mm/swap.ts', source);
  const page = renewed('# Words\n\nkept\n', entries);
  expect(page.startsWith('# Words\n\nkept\n\n<!--')).toBe(true);
  expect(page).toContain('| `PAGEVEC_SIZE` | include/linux/pagevec.h | `BATCH` | src/mm/swap.ts | 6.18 |');
  expect(renewed(page, entries)).toBe(page);
  expect(renewed(page, entries.slice(1))).not.toBe(page);
});

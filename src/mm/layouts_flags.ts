/** The flags word in parts: the flags of a release, and what lies above them. */
import type { LayoutBits } from './layout_struct.ts';
import { pageFlagsByRelease } from './page_flags.ts';

/** Zone and node, with 5 zone types and 1,024 nodes as distributions configure on x86-64. Generations come only with MGLRU. */
const place: readonly LayoutBits[] = [
  { name: 'zone', from: 51, count: 3 },
  { name: 'node', from: 54, count: 10 },
];

/** Bits of a flags word: which release's numbering holds is the caller's to know. */
export const flagParts = (numbering: '5.15' | '6.12' | '6.18'): readonly LayoutBits[] => [
  ...(pageFlagsByRelease[numbering] ?? []).map((name, from) => ({ name, from, count: 1 })),
  ...place,
];

/** The flags word of the second page of a large folio: its low byte is the order, above it lie marks of the folio. */
export const flagParts1 = (numbering: '6.12' | '6.18'): readonly LayoutBits[] => {
  const names = pageFlagsByRelease[numbering] ?? [];
  const mark = (name: string, flag: string): LayoutBits => ({ name, from: names.indexOf(flag), count: 1 });
  return [
    { name: 'order', from: 0, count: 8 },
    mark('PG_has_hwpoisoned', 'PG_active'),
    mark('PG_large_rmappable', 'PG_workingset'),
    mark('PG_partially_mapped', 'PG_reclaim'),
  ];
};

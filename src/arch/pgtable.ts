/**
 * The shape of page tables as data: which bits of an address pick the entry at each level, which levels may hold a leaf, and how
 * many neighbouring entries the contiguous hint of arm64 joins. Levels are numbered from the leaves: 0 is PTE, 1 is PMD, the last
 * is PGD; a level that the kernel folds away (P4D with four levels) is not there.
 *
 * Addresses are byte addresses in plain numbers. They stay exact to 2^53, so user space under five levels (2^56 bytes) is held
 * to 2^52 here; the level exists and its tables are counted.
 */

export interface PageTableLevel {
  readonly name: 'PTE' | 'PMD' | 'PUD' | 'P4D' | 'PGD';
  /** log2 of the bytes that an entry spans. */
  readonly shift: number;
  /** log2 of the entries of a table. */
  readonly bits: number;
  /** An entry may map memory itself. */
  readonly leaf: boolean;
}

export interface PageTableGeometry {
  readonly name: string;
  readonly pageShift: number;
  readonly entryBytes: 8;
  /** Leaf level first: PTE, PMD, then PUD and P4D where they are, and PGD. */
  readonly levels: readonly PageTableLevel[];
  /** PTEs that one contiguous hint joins; 1 where there is none. */
  readonly contPtes: number;
  readonly contPmds: number;
  /** First byte address that a program cannot map. */
  readonly userEnd: number;
}

const level = (name: PageTableLevel['name'], shift: number, bits: number, leaf: boolean): PageTableLevel => ({
  name,
  shift,
  bits,
  leaf,
});

/**
 * Four levels of 512 entries: 47 bits for programs, less the last page.
 * @kernel arch/x86/include/asm/pgtable_64_types.h PGDIR_SHIFT, PTRS_PER_PTE (6.18)
 * @kernel arch/x86/include/asm/page_64_types.h task_size_max (6.18)
 */
export const x86_64: PageTableGeometry = {
  name: 'x86_64',
  pageShift: 12,
  entryBytes: 8,
  levels: [level('PTE', 12, 9, true), level('PMD', 21, 9, true), level('PUD', 30, 9, true), level('PGD', 39, 9, false)],
  contPtes: 1,
  contPmds: 1,
  userEnd: 2 ** 47 - 4096,
};

/**
 * Five levels: P4D is a level of its own. The kernel's end of user space is 2^56 less a page; see above.
 * @kernel arch/x86/include/asm/pgtable_64_types.h P4D_SHIFT (6.18)
 */
export const x86_64_la57: PageTableGeometry = {
  ...x86_64,
  name: 'x86_64-la57',
  levels: [
    level('PTE', 12, 9, true),
    level('PMD', 21, 9, true),
    level('PUD', 30, 9, true),
    level('P4D', 39, 9, false),
    level('PGD', 48, 9, false),
  ],
  userEnd: 2 ** 52,
};

/**
 * Granule 4 KiB, 48 bits: four levels; the hint joins 16 PTEs (64 KiB) or 16 PMDs (32 MiB).
 * @kernel arch/arm64/include/asm/pgtable-hwdef.h CONT_PTES, CONT_PMDS (6.18)
 * @kernel arch/arm64/Kconfig ARM64_CONT_PTE_SHIFT, ARM64_CONT_PMD_SHIFT (6.18)
 */
export const arm64_4k: PageTableGeometry = {
  name: 'arm64-4k',
  pageShift: 12,
  entryBytes: 8,
  levels: x86_64.levels,
  contPtes: 16,
  contPmds: 16,
  userEnd: 2 ** 48,
};

/** Granule 16 KiB, 48 bits: four levels, the top table with two entries; hints of 128 PTEs (2 MiB) and 32 PMDs (1 GiB). */
export const arm64_16k: PageTableGeometry = {
  name: 'arm64-16k',
  pageShift: 14,
  entryBytes: 8,
  levels: [
    level('PTE', 14, 11, true),
    level('PMD', 25, 11, true),
    level('PUD', 36, 11, false),
    level('PGD', 47, 1, false),
  ],
  contPtes: 128,
  contPmds: 32,
  userEnd: 2 ** 48,
};

/** Granule 64 KiB, 48 bits: three levels, the top table with 64 entries; hints of 32 PTEs (2 MiB) and 32 PMDs (16 GiB). */
export const arm64_64k: PageTableGeometry = {
  name: 'arm64-64k',
  pageShift: 16,
  entryBytes: 8,
  levels: [level('PTE', 16, 13, true), level('PMD', 29, 13, true), level('PGD', 42, 6, false)],
  contPtes: 32,
  contPmds: 32,
  userEnd: 2 ** 48,
};

/** All shapes, for tests of whoever walks them. */
export const pageTableGeometries: readonly PageTableGeometry[] = [x86_64, x86_64_la57, arm64_4k, arm64_16k, arm64_64k];

/** Bytes of address space under one table at level `n`. */
export const tableSpan = (g: PageTableGeometry, n: number): number => 2 ** (g.levels[n].shift + g.levels[n].bits);

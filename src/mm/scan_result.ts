/** Apart from what uses them: those import each other. */

/** What came of a block. @kernel mm/khugepaged.c enum scan_result (6.18) */
export const SCAN_FAIL = 0;
export const SCAN_SUCCEED = 1;
export const SCAN_PMD_NULL = 2;
export const SCAN_PMD_NONE = 3;
export const SCAN_PMD_MAPPED = 4;
export const SCAN_EXCEED_NONE_PTE = 5;
export const SCAN_EXCEED_SWAP_PTE = 6;
export const SCAN_EXCEED_SHARED_PTE = 7;
export const SCAN_PTE_NON_PRESENT = 8;
export const SCAN_PTE_MAPPED_HUGEPAGE = 10;
export const SCAN_LACK_REFERENCED_PAGE = 11;
export const SCAN_PAGE_NULL = 12;
export const SCAN_PAGE_COUNT = 14;
export const SCAN_PAGE_LRU = 15;
export const SCAN_PAGE_LOCK = 16;
export const SCAN_PAGE_ANON = 17;
export const SCAN_PAGE_COMPOUND = 18;
export const SCAN_VMA_CHECK = 21;
export const SCAN_DEL_PAGE_LRU = 23;
export const SCAN_ALLOC_HUGE_PAGE_FAIL = 24;
export const SCAN_CGROUP_CHARGE_FAIL = 25;
export const SCAN_TRUNCATED = 26;

/** A zsmalloc pool, checked: Z1 to Z4 of zsmalloc.ts. */

import { assert } from '../base/errors.ts';
import type { Pfn } from './ids.ts';
import type { Machine } from './machine.ts';
import { PGTY } from './page_flags.ts';
import { pageType } from './page_type.ts';
import { fullnessGroup, NR_FULLNESS_GROUPS, type ZsPool } from './zsmalloc.ts';

/** Asserts the invariants; walks every object. */
export function checkZsPool(m: Machine, pool: ZsPool): void {
  const { handles } = pool;
  let poolPages = 0;
  let poolObjects = 0;
  pool.classes.forEach((c, cls) => {
    const n = c.objsPerZspage;
    let zspages = 0;
    let inuse = 0;
    for (let g = 0; g < NR_FULLNESS_GROUPS; g++) {
      let prev = 0;
      let count = 0;
      for (let z = c.head[g] as number; z !== 0; z = c.zspages.next[z] as number) {
        assert(c.zspages.prev[z] === prev && c.zspages.group[z] === g, 'Z1 a zspage is linked both ways');
        const used = c.zspages.inuse[z] as number;
        assert(used > 0 && fullnessGroup(used, n) === g, 'Z1 a zspage is in its fullness group');
        let here = 0;
        for (let obj = 0; obj < n; obj++) {
          const handle = c.objects[z * n + obj] as number;
          if (handle < 0) continue;
          here++;
          assert(
            handles.cls[handle] === cls && handles.zspage[handle] === z && handles.obj[handle] === obj,
            'Z2 a handle knows its object',
          );
        }
        let free = 0;
        for (let obj = c.zspages.freeobj[z] as number; obj !== -1; free++) {
          const link = c.objects[z * n + obj] as number;
          assert(link < 0, 'Z2 a free object has no handle');
          obj = link === -1 ? -1 : -2 - link;
        }
        assert(here === used && free === n - used, 'Z2 objects in use and free ones are all');
        for (let i = 0; i < c.pagesPerZspage; i++) {
          const pfn = c.pages[z * c.pagesPerZspage + i] as number;
          assert(pageType(m.map, pfn as Pfn) === PGTY.PGTY_zsmalloc, 'Z4 pages are of type zsmalloc');
        }
        inuse += used;
        count++;
        prev = z;
      }
      assert(c.count[g] === count, 'Z1 a group has as many zspages as counted');
      zspages += count;
    }
    assert(c.objsInuse === inuse && c.objsAllocated === zspages * n, 'Z3 objects of a class');
    poolPages += zspages * c.pagesPerZspage;
    poolObjects += inuse;
  });
  assert(pool.pagesAllocated === poolPages && pool.handlesInuse === poolObjects, 'Z3 pages and objects of the pool');
}

// A GenericFilehandle over the cache: what @gmod/bam, @gmod/tabix, @gmod/bbi and their like take as `filehandle`.
import { PageCache } from 'quire-mm/cache';
import { genericFilehandle } from 'quire-mm/cache/adapters/generic_filehandle2';
import { memorySource } from 'quire-mm/cache/sources';

const bed = new TextEncoder().encode('chr1\t100\t200\nchr2\t300\t400\n');

await using cache = new PageCache({ memory: '4MiB' });
const handle = genericFilehandle(await cache.open(memorySource(bed)));
// The length comes first.
console.log(new TextDecoder().decode(await handle.read(12, 13)));
console.log(await handle.stat());

// > chr2	300	400
// > { size: 26 }

/** ext2: buffer heads, folios of one page. */
import { BufferHeadFs } from './buffer_head.ts';

export class Ext2 extends BufferHeadFs {
  readonly name = 'ext2';
}

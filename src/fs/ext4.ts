/** ext4: buffer heads; large folios for regular files from 6.16; blocks of 1 to 4 KiB here, larger ones from 6.19. */
import { BufferHeadFs } from './buffer_head.ts';

export class Ext4 extends BufferHeadFs {
  readonly name: string = 'ext4';
  protected override readonly edgesMakeFolios = true;
  protected readonly zeroesTail = 'after';
}

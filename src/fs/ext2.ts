/**
 * ext2, as kernels mount it that have the ext4 driver serve it (CONFIG_EXT4_USE_FOR_EXT2): ext4 without delayed allocation.
 * Folios are the same.
 */
import { Ext4 } from './ext4.ts';

export class Ext2 extends Ext4 {
  override readonly name = 'ext2';
  /** No journal. */
  protected override zeroed(): void {}
}

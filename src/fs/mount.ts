/** File systems by name: a new one is a file of its own and a line here. */
import { QuireError } from '../base/errors.ts';
import type { AddressSpaceOperations } from '../mm/address_space.ts';
import { Btrfs } from './btrfs.ts';
import { Erofs } from './erofs.ts';
import { Ext2 } from './ext2.ts';
import { Ext4 } from './ext4.ts';
import { type ShmemHuge, Tmpfs } from './tmpfs.ts';
import { Xfs } from './xfs.ts';

const HUGE: readonly string[] = ['never', 'always', 'within_size', 'advise'];

/** A mounted file system. `huge` is the mount option of tmpfs. */
export function mount(name: string, huge: string): AddressSpaceOperations {
  switch (name) {
    case 'xfs':
      return new Xfs();
    case 'ext4':
      return new Ext4();
    case 'ext2':
      return new Ext2();
    case 'btrfs':
      return new Btrfs();
    case 'erofs':
      return new Erofs();
    case 'tmpfs':
      if (!HUGE.includes(huge)) throw new QuireError('EINVAL', `huge=${huge}: expected one of ${HUGE.join(', ')}`);
      return new Tmpfs(huge as ShmemHuge);
    default:
      throw new QuireError('EINVAL', `file system '${name}': expected one of xfs, ext4, ext2, btrfs, erofs, tmpfs`);
  }
}

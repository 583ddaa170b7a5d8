/**
 * btrfs: data is checksummed, so that nobody may write to a folio while it goes to the device. Folios of one page unless it
 * is built with its experimental options.
 */
import { AS_STABLE_WRITES } from '../mm/address_space.ts';
import type { MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { BufferHeadFs } from './buffer_head.ts';

export class Btrfs extends BufferHeadFs {
  readonly name = 'btrfs';

  override inodeInit(m: Machine, mapping: MappingId): void {
    super.inodeInit(m, mapping);
    m.spaces.flags[mapping] = (m.spaces.flags[mapping] as number) | AS_STABLE_WRITES;
  }
}

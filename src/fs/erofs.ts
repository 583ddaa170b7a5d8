/** EROFS: read only; plain images are read through iomap. */
import { QuireError } from '../base/errors.ts';
import type { FileId, MappingId } from '../mm/ids.ts';
import type { Machine } from '../mm/machine.ts';
import { IomapFs } from './iomap.ts';

const readOnly = (): never => {
  throw new QuireError('EROFS', 'erofs is read only');
};

export class Erofs extends IomapFs {
  readonly name = 'erofs';

  protected writeBegin(): number {
    return readOnly();
  }
  protected zeroRange(): boolean {
    return readOnly();
  }
  override write(_m: Machine, _file: FileId, _pos: number, _length: number): number {
    return readOnly();
  }
  setSize(_m: Machine, _mapping: MappingId, _size: number): boolean {
    return readOnly();
  }
  punchHole(_m: Machine, _mapping: MappingId, _offset: number, _length: number): boolean {
    return readOnly();
  }
  fallocate(_m: Machine, _mapping: MappingId, _offset: number, _length: number): boolean {
    return readOnly();
  }
}

/** posix_fadvise(2) and readahead(2). @kernel mm/fadvise.c generic_fadvise (6.18) */
import { FMODE_NOREUSE, FMODE_RANDOM } from './address_space.ts';
import type { FileId, MappingId } from './ids.ts';
import type { Machine } from './machine.ts';
import { forcePageCacheRa } from './readahead.ts';
import { fadviseDontneed } from './truncate.ts';

export type Fadvice = 'normal' | 'sequential' | 'random' | 'noreuse' | 'willneed' | 'dontneed';

/** Advice about bytes [offset, offset + length); length 0 means to the end of the file. */
export function genericFadvise(m: Machine, file: FileId, offset: number, length: number, advice: Fadvice): void {
  const { files, spaces } = m;
  const mapping = files.mapping[file] as MappingId;
  const fmode = files.fmode[file] as number;
  const end = length === 0 ? Number.MAX_SAFE_INTEGER : offset + length;
  switch (advice) {
    case 'normal':
      files.raPages[file] = spaces.raPages[mapping] as number;
      files.fmode[file] = fmode & ~(FMODE_RANDOM | FMODE_NOREUSE);
      return;
    case 'random':
      files.fmode[file] = fmode | FMODE_RANDOM;
      return;
    case 'sequential':
      files.raPages[file] = (spaces.raPages[mapping] as number) * 2;
      files.fmode[file] = fmode & ~FMODE_RANDOM;
      return;
    case 'noreuse':
      files.fmode[file] = fmode | FMODE_NOREUSE;
      return;
    case 'willneed': {
      const first = Math.floor(offset / m.config.pageSize);
      const last = Math.floor((end - 1) / m.config.pageSize);
      m.ahead = true;
      forcePageCacheRa(m, file, first, last - first + 1);
      m.ahead = false;
      return;
    }
    case 'dontneed':
      fadviseDontneed(m, mapping, offset, end);
  }
}

/** readahead(2). @kernel mm/readahead.c ksys_readahead (6.18) */
export function ksysReadahead(m: Machine, file: FileId, offset: number, length: number): void {
  genericFadvise(m, file, offset, length, 'willneed');
}

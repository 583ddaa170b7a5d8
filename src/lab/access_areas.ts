/**
 * The areas that an access trace runs in, where the trace does not tell them: from a /proc/PID/maps that was kept, or guessed
 * from what is touched:
 *
 *   blocks of 64 KiB      code  = fetched from, never stored to       data = the rest
 *   joined to areas       neighbours of one sort, over gaps of less than 1 MiB, from first page to last
 *   an area of code, and one of data that is never stored to, is a mapping of a file of its own, not cached yet;
 *   any other is anonymous, private and writable
 */
import { readFileSync } from 'node:fs';
import { InputError } from '../base/errors.ts';
import { ADDRESS_END, type Region } from '../trace/access.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE, SHARED } from '../trace/event.ts';
import { TOUCH_FETCH, TOUCH_STORE } from '../trace/regions.ts';

/** Addresses in bytes, `end` exclusive; `prot` as in a recording: PROT_* and SHARED. */
export interface Area {
  readonly start: number;
  readonly end: number;
  readonly prot: number;
  /** '': anonymous memory. */
  readonly file: string;
  /** First byte of the file. */
  readonly offset: number;
}

const GAP = 2 ** 20;

const isCode = (touched: number): boolean => (touched & TOUCH_FETCH) !== 0 && (touched & TOUCH_STORE) === 0;

/** Areas for what is touched, in pages of `pageSize` bytes. Regions ascend. */
export function areasFromRegions(regions: readonly Region[], pageSize: number): Area[] {
  const joined: { start: number; end: number; touched: number; code: boolean }[] = [];
  for (const { start, end, touched } of regions) {
    const code = isCode(touched);
    const last = joined.at(-1);
    const from = Math.max(Math.floor(start / pageSize) * pageSize, last?.end ?? 0);
    const to = Math.ceil(end / pageSize) * pageSize;
    // A page that two sorts share is of the sort that came first, and may be stored to if either is.
    if (last !== undefined && (to <= from || (last.code === code && from - last.end < GAP))) {
      last.end = Math.max(last.end, to);
      last.touched |= touched;
    } else {
      if (last !== undefined && start < last.end) last.touched |= touched;
      joined.push({ start: from, end: to, touched, code });
    }
  }
  return joined.map(({ start, end, touched }) => {
    const exec = (touched & TOUCH_FETCH) !== 0 ? PROT_EXEC : 0;
    const stored = (touched & TOUCH_STORE) !== 0;
    const prot = PROT_READ | exec | (stored ? PROT_WRITE : 0);
    return { start, end, prot, file: stored ? '' : `file at ${start.toString(16)}`, offset: 0 };
  });
}

const MAPS_LINE = /^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-][w-][x-][sp]) ([0-9a-f]{1,16}) \S+ (\d+) *(.*)$/;

/** Areas in the form of /proc/PID/maps. Kernel addresses (vsyscall) are left out. */
export function areasFromMaps(path: string): Area[] {
  const text = readFileSync(path, 'latin1');
  const areas: Area[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line === '') continue;
    const m = MAPS_LINE.exec(line);
    const expected = 'expected areas as /proc/PID/maps has them';
    if (m === null) throw new InputError(path, i + 1, expected);
    const [start, end, offset] = [m[1], m[2], m[4]].map((hex) => Number.parseInt(hex as string, 16)) as [
      number,
      number,
      number,
    ];
    if (start >= 2 ** 63) continue;
    if (start >= end || end > ADDRESS_END || (start | end | offset) % 4096 !== 0 || start < (areas.at(-1)?.end ?? 0))
      throw new InputError(path, i + 1, `${expected}: in ascending order, whole pages below 2^52`);
    const rights = m[3] as string;
    const named = m[5] !== '0' || /^\[v/.test(m[6] as string);
    areas.push({
      start,
      end,
      prot:
        (rights[0] === 'r' ? PROT_READ : 0) |
        (rights[1] === 'w' ? PROT_WRITE : 0) |
        (rights[2] === 'x' ? PROT_EXEC : 0) |
        (rights[3] === 's' ? SHARED : 0),
      file: named ? (m[6] as string) : '',
      offset: named ? offset : 0,
    });
  }
  if (areas.length === 0) throw new InputError(path, 0, 'no areas in it, expected a /proc/PID/maps');
  return areas;
}

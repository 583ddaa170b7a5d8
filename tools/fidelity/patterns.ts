import { KiB, MiB, PAGE, type Script } from './script.ts';

/**
 * Short bursts of operations, each one habit of a program: reading on, reading back, striding, appending, cutting.
 * A family (families.ts) strings bursts together.
 */

export const READ_SIZES = [
  512,
  1000,
  PAGE,
  PAGE,
  6000,
  2 * PAGE,
  3 * PAGE,
  4 * PAGE,
  20000,
  64 * KiB,
  64 * KiB,
  70000,
  128 * KiB,
  200000,
  256 * KiB,
  MiB,
] as const;
export const WRITE_SIZES = [
  100,
  1000,
  PAGE,
  PAGE,
  6000,
  2 * PAGE,
  3 * PAGE,
  10000,
  16 * KiB,
  30000,
  64 * KiB,
  70000,
  100000,
  128 * KiB,
  300000,
  MiB,
  3 * MiB,
] as const;

/** An offset below `size`: whole pages mostly, sometimes any byte, sometimes the beginning or near the end. */
export function anyOffset(s: Script, size: number): number {
  if (size <= 0) return 0;
  const kind = s.prng.below(10);
  if (kind === 0) return 0;
  if (kind === 1) return Math.max(0, size - s.prng.between(1, 200000));
  if (kind < 4) return s.prng.below(size);
  return Math.floor(s.prng.below(size) / PAGE) * PAGE;
}

/** How many operations of `length` bytes fit in a burst of at most `most` bytes. */
function times(s: Script, length: number, most: number): number {
  return Math.max(1, Math.min(s.prng.between(4, 60), Math.floor(most / length)));
}

export function readOn(s: Script, h: number): void {
  const length = s.prng.pick(READ_SIZES);
  if (s.prng.below(3) > 0) s.lseek(h, anyOffset(s, s.sizeOf(h)));
  for (let n = times(s, length, 4 * MiB); n > 0; n--) s.read(h, length);
}
export function readRandom(s: Script, h: number): void {
  const length = s.prng.pick(READ_SIZES);
  for (let n = times(s, length, 2 * MiB); n > 0; n--) s.pread(h, anyOffset(s, s.sizeOf(h)), length);
}
export function readStride(s: Script, h: number): void {
  const length = s.prng.pick([PAGE, 2 * PAGE, 10000, 64 * KiB]);
  const stride = length + s.prng.pick([PAGE, 3 * PAGE, 5000, 60 * KiB, 300 * KiB]);
  let at = anyOffset(s, s.sizeOf(h));
  for (let n = times(s, stride, 8 * MiB); n > 0 && at < s.sizeOf(h); n--, at += stride) s.pread(h, at, length);
}
export function readBack(s: Script, h: number): void {
  const length = s.prng.pick([PAGE, 2 * PAGE, 10000, 64 * KiB]);
  let at = anyOffset(s, s.sizeOf(h));
  for (let n = times(s, length, 2 * MiB); n > 0 && at >= 0; n--, at -= length) s.pread(h, at, length);
}
/** Two streams at two places in turn, through two handles or through one. */
export function readTurns(s: Script, a: number, b: number): void {
  const length = s.prng.pick(READ_SIZES);
  let x = anyOffset(s, s.sizeOf(a));
  let y = anyOffset(s, s.sizeOf(b));
  for (let n = times(s, 2 * length, 4 * MiB); n > 0; n--, x += length, y += length) {
    s.pread(a, x, length);
    s.pread(b, y, length);
  }
}
/** A jump a little ahead or behind after each few reads: history, marks and old windows meet. */
export function readHops(s: Script, h: number): void {
  const length = s.prng.pick([PAGE, PAGE, 2 * PAGE, 20000]);
  let at = anyOffset(s, s.sizeOf(h));
  for (let n = 0; n < 12; n++) {
    s.lseek(h, at);
    for (let k = s.prng.between(1, 6); k > 0; k--) s.read(h, length);
    at = Math.max(0, at + s.prng.between(-30, 60) * PAGE);
  }
}
export function advise(s: Script, h: number, kinds: readonly string[]): void {
  const kind = s.prng.pick(kinds);
  const at = anyOffset(s, s.sizeOf(h));
  const length = s.prng.pick([0, PAGE, 10000, 128 * KiB, 500000, 3 * MiB]);
  if (kind === 'willneed' || kind === 'dontneed' || s.prng.below(2) > 0) s.fadvise(h, at, length, kind);
  else s.fadvise(h, 0, 0, kind);
}
export function ahead(s: Script, h: number): void {
  s.readahead(h, anyOffset(s, s.sizeOf(h)), s.prng.pick([PAGE, 10000, 64 * KiB, 300000, 2 * MiB]));
}

/** Appends at the handle's position, which is taken to the end of the file first. */
export function appendOn(s: Script, h: number): void {
  const length = s.prng.pick(WRITE_SIZES);
  s.lseek(h, s.sizeOf(h));
  for (let n = times(s, length, 4 * MiB); n > 0; n--) s.write(h, length);
}
export function appendMixed(s: Script, h: number): void {
  s.lseek(h, s.sizeOf(h));
  for (let n = s.prng.between(3, 12); n > 0; n--) s.write(h, s.prng.pick(WRITE_SIZES));
}
export function overwrite(s: Script, h: number): void {
  const length = s.prng.pick(WRITE_SIZES);
  for (let n = times(s, length, 2 * MiB); n > 0; n--) s.pwrite(h, anyOffset(s, s.sizeOf(h)), length);
}
/** A write that starts past the end, with or without whole pages between. */
export function writeBeyond(s: Script, h: number): void {
  const gap = s.prng.pick([1, 100, 3000, PAGE, 2 * PAGE + 17, 60000, 64 * KiB, 700001, 5 * MiB]);
  const at = s.sizeOf(h) + gap;
  s.pwrite(h, s.prng.below(2) === 0 ? at : Math.ceil(at / PAGE) * PAGE, s.prng.pick(WRITE_SIZES));
}
export function readBackWritten(s: Script, h: number): void {
  const end = s.sizeOf(h);
  s.lseek(h, Math.max(0, end - s.prng.between(1, 3 * MiB)));
  const length = s.prng.pick(READ_SIZES);
  for (let n = times(s, length, 3 * MiB); n > 0; n--) s.read(h, length);
}
export function allocate(s: Script, h: number): void {
  const end = s.sizeOf(h);
  const at = s.prng.below(2) === 0 ? end : anyOffset(s, end);
  s.fallocate(h, at, s.prng.pick([PAGE, 10000, 64 * KiB, 300000, 2 * MiB]));
}

export function cut(s: Script, h: number): void {
  const size = s.sizeOf(h);
  const kind = s.prng.below(5);
  if (kind === 0) s.ftruncate(h, Math.floor(s.prng.below(size + 1) / PAGE) * PAGE);
  else if (kind === 1) s.ftruncate(h, Math.max(0, size - s.prng.between(1, MiB)));
  else if (kind === 2) s.ftruncate(h, size + s.prng.pick([1, 3000, PAGE, 70000, MiB]));
  else if (kind === 3) s.ftruncate(h, (Math.ceil(size / PAGE) + s.prng.between(1, 600)) * PAGE);
  else s.ftruncate(h, s.prng.below(size + 1));
}
export function hole(s: Script, h: number): void {
  const at = anyOffset(s, s.sizeOf(h));
  s.punch(h, at, s.prng.pick([PAGE, PAGE, 5000, 10000, 16 * PAGE, 70000, 512 * PAGE, MiB + 4096, 3 * MiB]));
}
/** Drops a range of clean pages: written back first, so that the answer does not hang on the disk's speed. */
export function drop(s: Script, h: number): void {
  s.fsync(h);
  s.fadvise(h, anyOffset(s, s.sizeOf(h)), s.prng.pick([0, PAGE, 5000, 64 * KiB, 300000, 2 * MiB]), 'dontneed');
}

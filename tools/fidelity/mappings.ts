import type { Prng } from '../../src/base/prng.ts';
import type { Family } from './families.ts';
import { KiB, MiB, PAGE, Script, type Setup } from './script.ts';

/** Scripts that map files: what a program with memory-mapped data does, and where the edges are. */

const READAHEAD_KB = [16, 32, 64, 128, 128, 128, 256, 512, 2048] as const;

/** Bytes past a 2 MiB boundary. */
const anyPlace = (prng: Prng): number => prng.pick([0, 0, 0, PAGE, 3 * PAGE, 6 * PAGE, 64 * KiB, 500 * PAGE]);
const pageBelow = (prng: Prng, bytes: number): number => prng.below(Math.max(1, Math.ceil(bytes / PAGE))) * PAGE;

/** A length at `from` that stays inside `size` bytes. */
const inside = (from: number, length: number, size: number): number => Math.max(1, Math.min(length, size - from));

function touchOn(s: Script, map: number, size: number, access: 'r' | 'w'): void {
  const from = pageBelow(s.prng, size);
  s.touch(map, from, inside(from, s.prng.pick([PAGE, 20 * KiB, 64 * KiB, 200 * KiB, MiB]), size), access);
}
function touchHops(s: Script, map: number, size: number, access: 'r' | 'w', times: number): void {
  for (let n = 0; n < times; n++) s.touch(map, pageBelow(s.prng, size), 1, access);
}
function touchStride(s: Script, map: number, size: number, access: 'r' | 'w'): void {
  const stride = s.prng.pick([2, 3, 5, 16, 17, 33, 64]) * PAGE;
  let at = pageBelow(s.prng, size);
  for (let n = 0; n < 40 && at < size; n++, at += stride) s.touch(map, at, 1, access);
}
function touchBack(s: Script, map: number, size: number): void {
  let at = pageBelow(s.prng, size);
  const step = s.prng.pick([1, 1, 2, 7, 20]) * PAGE;
  for (let n = 0; n < 40 && at >= 0; n++, at -= step) s.touch(map, at, 1, 'r');
}

type Burst = () => void;
function bursts(s: Script, n: number, choices: readonly Burst[]): void {
  for (let i = 0; i < n; i++) s.prng.pick(choices)();
}
const flags = (base: Setup, prng: Prng): Setup =>
  base.fs === 'tmpfs' ? base : { ...base, readaheadKb: prng.pick(READAHEAD_KB) };

/** A file with contents. On tmpfs the script writes them: compaction splits what was there before. */
function filled(s: Script, size: number): number {
  if (s.setup.fs !== 'tmpfs') return s.open(s.file(size), 'rw');
  const h = s.open(s.file(0), 'rw');
  while (s.sizeOf(h) < size) s.write(h, Math.min(s.prng.pick([MiB, 300000]), size - s.sizeOf(h)));
  return h;
}

/** Loads through one or two mappings of a file. */
function mapReads(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(2, 16) * MiB + prng.pick([0, 0, 5000, 70000]);
  const h = filled(s, size);
  const whole = s.mmap(h, 0, size, 'r', prng.pick(['shared', 'private']), anyPlace(prng));
  const from = pageBelow(prng, size / 2);
  const part = s.mmap(h, from, inside(from, 2 * MiB + 12345, size), 'r', 'shared', anyPlace(prng));
  const any = (): [number, number] => {
    const map = prng.pick([whole, whole, part]);
    return [map, s.lengthOf(map)];
  };
  bursts(s, 14, [
    () => touchOn(s, ...any(), 'r'),
    () => touchOn(s, ...any(), 'r'),
    () => touchHops(s, ...any(), 'r', 12),
    () => touchStride(s, ...any(), 'r'),
    () => touchBack(s, ...any()),
    () => s.pread(h, pageBelow(prng, size), prng.pick([PAGE, 64 * KiB, 200000])),
    () => s.read(h, prng.pick([PAGE, 16 * KiB, 128 * KiB])),
  ]);
  return s;
}
/** Advice for parts of a mapping. */
function mapAdvised(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(4, 24) * MiB + prng.pick([0, 3000]);
  const h = filled(s, size);
  const map = s.mmap(h, 0, size, 'r', 'shared', anyPlace(prng));
  const exec = s.mmap(h, 0, size, 'rx', 'private', anyPlace(prng));
  const length = s.lengthOf(map);
  for (let n = 0; n < 7; n++) {
    const from = pageBelow(prng, length);
    const span = inside(from, prng.pick([64 * KiB, MiB, 4 * MiB, 64 * MiB]), length);
    const kinds = ['normal', 'random', 'sequential', 'sequential', 'willneed', 'dontneed', 'hugepage', 'nohugepage'];
    s.madvise(prng.pick([map, map, exec]), from, span, prng.pick(kinds));
    bursts(s, 2, [
      () => touchOn(s, map, length, 'r'),
      () => touchOn(s, exec, length, 'r'),
      () => touchHops(s, exec, length, 'r', 8),
      () => touchHops(s, map, length, 'r', 8),
      () => touchStride(s, map, length, 'r'),
    ]);
  }
  return s;
}
/** Every touch of a large mapping elsewhere: more misses than hits, until read-around stops. */
function mapRandom(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(64, 96) * MiB;
  const h = filled(s, size);
  const map = s.mmap(h, 0, size, 'r', 'shared', anyPlace(prng));
  touchHops(s, map, size, 'r', 500);
  s.madvise(map, 0, size, 'random');
  touchHops(s, map, size, 'r', 100);
  return s;
}
/** Stores into shared and private mappings, with syncs, reads and writes between. */
function mapWrites(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(2, 12) * MiB + prng.pick([0, 777, 5000]);
  const h = filled(s, size);
  const shared = s.mmap(h, 0, size, 'rw', 'shared', anyPlace(prng));
  const own = s.mmap(h, 0, size, 'rw', 'private', anyPlace(prng));
  bursts(s, 16, [
    () => touchOn(s, shared, size, 'w'),
    () => touchHops(s, shared, size, 'w', 10),
    () => touchStride(s, shared, size, 'w'),
    () => touchOn(s, shared, size, 'r'),
    () => touchOn(s, own, size, 'w'),
    () => touchHops(s, own, size, 'w', 10),
    () => touchOn(s, own, size, 'r'),
    () => s.fsync(h),
    () => s.pwrite(h, pageBelow(prng, size - MiB), prng.pick([100, PAGE, 70000])),
    () => s.pread(h, pageBelow(prng, size), prng.pick([PAGE, 64 * KiB, 200000])),
  ]);
  return s;
}
/** Large folios first (written or read in bulk), then touched through mappings that lie anyhow. */
function mapLarge(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const h = s.open(s.file(0), 'rwc');
  const size = prng.between(2, 8) * MiB;
  while (s.sizeOf(h) < size) s.write(h, prng.pick([100000, 64 * KiB, 300000, MiB, 3 * MiB]));
  if (prng.below(2) === 0) s.fsync(h);
  const length = s.sizeOf(h);
  const maps = [0, 1, 2].map((n) => {
    const from = n === 0 ? 0 : pageBelow(prng, length / 2);
    const prot = prng.pick(['r', 'rw']);
    return s.mmap(
      h,
      from,
      inside(from, prng.pick([MiB, 4 * MiB, length]), length),
      prot,
      prng.pick(['shared', 'private']),
      anyPlace(prng),
    );
  });
  const reading = (): [number, number] => {
    const map = prng.pick(maps);
    return [map, s.lengthOf(map)];
  };
  bursts(s, 14, [
    () => touchOn(s, ...reading(), 'r'),
    () => touchHops(s, ...reading(), 'r', 6),
    () => touchStride(s, ...reading(), 'r'),
  ]);
  for (const map of maps) {
    const at = pageBelow(prng, s.lengthOf(map));
    s.munmap(map, at, inside(at, prng.pick([PAGE, 64 * KiB, 300 * KiB]), s.lengthOf(map)));
  }
  return s;
}
/** The file shrinks, loses pieces and grows while it is mapped. */
function mapCuts(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(3, 10) * MiB + prng.pick([0, 1234]);
  const h = filled(s, size);
  const map = s.mmap(h, 0, size, 'rw', 'shared', anyPlace(prng));
  const own = s.mmap(h, 0, size, 'rw', 'private', anyPlace(prng));
  const now = (): number => Math.min(size, s.sizeOf(h));
  const canPunch = base.fs !== 'ext2';
  for (let n = 0; n < 9; n++) {
    bursts(s, 3, [
      () => touchOn(s, map, now(), 'r'),
      () => touchOn(s, map, now(), 'w'),
      () => touchOn(s, own, now(), prng.pick(['r', 'w'])),
      () => touchHops(s, map, now(), prng.pick(['r', 'w']), 6),
      () => s.fsync(h),
    ]);
    const at = pageBelow(prng, now() - MiB) + prng.pick([0, 0, 1, 700]);
    const kind = prng.below(4);
    if (kind === 0) s.ftruncate(h, Math.max(MiB, now() - prng.pick([1, PAGE, 100000, 600 * KiB])));
    else if (kind === 1) s.ftruncate(h, Math.min(size, s.sizeOf(h) + prng.pick([1, 100000, MiB])));
    else if (canPunch && kind === 2) s.punch(h, at, prng.pick([100, PAGE, 100000, 600 * KiB]));
    else if (canPunch) s.madvise(map, Math.floor(at / PAGE) * PAGE, prng.pick([PAGE, 100 * KiB, 512 * KiB]), 'remove');
  }
  return s;
}
/** Holes filled through a mapping. */
function mapHoles(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const h = s.open(s.file(0), 'rwc');
  const size = prng.between(2, 8) * MiB + prng.pick([0, 100, 9000]);
  s.ftruncate(h, size);
  for (let n = 0; n < 4; n++) s.pwrite(h, pageBelow(prng, size - MiB), prng.pick([100, PAGE, 70000, 300000]));
  const map = s.mmap(h, 0, size, 'rw', 'shared', anyPlace(prng));
  bursts(s, 14, [
    () => touchOn(s, map, size, 'w'),
    () => touchHops(s, map, size, 'w', 8),
    () => touchOn(s, map, size, 'r'),
    () => touchStride(s, map, size, prng.pick(['r', 'w'])),
    () => s.pwrite(h, pageBelow(prng, size - MiB), prng.pick([100, PAGE, 70000])),
    () => s.fsync(h),
  ]);
  return s;
}
/** Mappings come, are filled in one go, are unmapped in part and locked. */
function mapComings(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(4, 12) * MiB;
  const h = filled(s, size);
  for (let n = 0; n < 8; n++) {
    const from = pageBelow(prng, size / 2);
    const length = inside(from, prng.pick([100 * KiB, MiB, 3 * MiB]), size);
    const map = s.mmap(h, from, length, 'rw', prng.pick(['shared', 'private']), anyPlace(prng));
    const pages = Math.ceil(length / PAGE) * PAGE;
    bursts(s, 3, [
      () => s.madvise(map, 0, pages, prng.pick(['populate_read', 'populate_write'])),
      () => touchOn(s, map, length, prng.pick(['r', 'w'])),
      () => touchHops(s, map, length, 'r', 8),
      () => {
        s.mprotect(map, 0, Math.ceil(pages / 2 / PAGE) * PAGE, 'r');
        touchHops(s, map, length, 'r', 4);
        s.mprotect(map, 0, pages, 'rw');
      },
      () => touchHops(s, map, length, 'r', 4),
      () => s.madvise(map, 0, pages, 'dontneed'),
    ]);
    if (prng.below(3) === 0) s.mlock(map, 0, Math.min(pages, MiB));
    if (prng.below(2) === 0) {
      const at = pageBelow(prng, length);
      s.munmap(map, at, inside(at, prng.pick([PAGE, 128 * KiB, 16 * MiB]), length));
    }
  }
  return s;
}

/** What is mapped is dropped from the cache, written past it, reclaimed and inherited. */
function mapDrops(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  const size = prng.between(2, 8) * MiB;
  const file = s.file(size);
  const h = s.open(file, 'rw');
  const direct = s.open(file, 'rwd');
  const map = s.mmap(h, 0, size, 'rw', 'shared', anyPlace(prng));
  const own = s.mmap(h, 0, size, 'rw', 'private', anyPlace(prng));
  const range = (): [number, number] => {
    const from = pageBelow(prng, size);
    return [from, inside(from, prng.pick([PAGE, 64 * KiB, 500 * KiB, 8 * MiB]), size)];
  };
  for (let n = 0; n < 7; n++) {
    bursts(s, 3, [
      () => touchOn(s, map, size, prng.pick(['r', 'w'])),
      () => touchOn(s, own, size, prng.pick(['r', 'w'])),
      () => touchStride(s, map, size, 'r'),
      () => s.pread(h, pageBelow(prng, size), prng.pick([PAGE, 64 * KiB])),
    ]);
    bursts(s, 1, [
      () => s.fadvise(h, ...range(), 'dontneed'),
      () => s.madvise(prng.pick([map, own]), ...range(), 'dontneed'),
      () => s.madvise(prng.pick([map, own]), ...range(), 'cold'),
      () => {
        s.fsync(h);
        s.madvise(map, ...range(), 'pageout');
      },
      () => s.pwrite(direct, pageBelow(prng, size - MiB), prng.pick([1, 16, 100]) * PAGE),
      () => s.pread(direct, pageBelow(prng, size - MiB), prng.pick([1, 16]) * PAGE),
      () => s.fsync(h),
    ]);
  }
  return s;
}
/** Executables: code that is mapped private and executable, touched here and there; data read and copied on write. */
function mapPrograms(prng: Prng, base: Setup): Script {
  const s = new Script(prng, flags(base, prng));
  for (let n = 0; n < 3; n++) {
    const size = prng.between(1, 6) * MiB + prng.pick([0, 100, 2000]);
    const h = s.open(s.file(size), 'r');
    const text = pageBelow(prng, size / 2);
    const code = s.mmap(h, 0, Math.max(PAGE, text), 'rx', 'private', anyPlace(prng));
    const data = s.mmap(h, text, size - text, 'rw', 'private', anyPlace(prng));
    for (let k = 0; k < 5; k++) {
      touchHops(s, code, s.lengthOf(code), 'r', 10);
      touchHops(s, data, s.lengthOf(data), prng.pick(['r', 'w']), 6);
      touchOn(s, data, s.lengthOf(data), 'r');
    }
    if (prng.below(2) === 0) s.close(h);
  }
  return s;
}

type Maker = (prng: Prng, base: Setup) => Script;
const XFS: Setup = { fs: 'xfs' };
const EXT4: Setup = { fs: 'ext4' };
const BTRFS: Setup = { fs: 'btrfs' };
const tmpfs = (huge: string): Setup => ({ fs: 'tmpfs', mountOption: `huge=${huge}` });

const family = (name: string, setup: Setup, maker: Maker): Family => ({
  name,
  seeds: 1,
  twice: false,
  make: (prng) => maker(prng, setup),
});

export const MAPPINGS: readonly Family[] = [
  family('map-read-xfs', XFS, mapReads),
  family('map-read-ext4', EXT4, mapReads),
  family('map-read-btrfs', BTRFS, mapReads),
  family('map-read-xfs16k', { fs: 'xfs', blockSize: 16384 }, mapReads),
  family('map-read-tmpfs-always', tmpfs('always'), mapReads),
  family('map-advise-xfs', XFS, mapAdvised),
  family('map-advise-ext4', EXT4, mapAdvised),
  family('map-advise-btrfs', BTRFS, mapAdvised),
  family('map-advise-xfs64k', { fs: 'xfs', blockSize: 65536 }, mapAdvised),
  family('map-random-xfs', XFS, mapRandom),
  family('map-write-xfs', XFS, mapWrites),
  family('map-write-ext4', EXT4, mapWrites),
  family('map-write-ext2', { fs: 'ext2' }, mapWrites),
  family('map-write-btrfs', BTRFS, mapWrites),
  family('map-write-tmpfs-never', tmpfs('never'), mapWrites),
  family('map-large-xfs', XFS, mapLarge),
  family('map-large-ext4', EXT4, mapLarge),
  family('map-large-tmpfs-within-size', tmpfs('within_size'), mapLarge),
  family('map-cut-xfs', XFS, mapCuts),
  family('map-cut-ext4', EXT4, mapCuts),
  family('map-hole-xfs', XFS, mapHoles),
  family('map-hole-ext4', EXT4, mapHoles),
  family('map-hole-btrfs', BTRFS, mapHoles),
  family('map-hole-tmpfs-advise', tmpfs('advise'), mapHoles),
  family('map-drop-xfs', XFS, mapDrops),
  family('map-drop-ext4', EXT4, mapDrops),
  family('map-program-xfs', XFS, mapPrograms),
  family('map-program-ext4', EXT4, mapPrograms),
  family('map-program-btrfs', BTRFS, mapPrograms),
  family('map-come-xfs', XFS, mapComings),
  family('map-come-ext4', EXT4, mapComings),
];

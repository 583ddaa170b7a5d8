import type { Prng } from '../../src/base/prng.ts';
import { ANONYMOUS } from './anonymous.ts';
import { MAPPINGS } from './mappings.ts';
import * as p from './patterns.ts';
import { KiB, MiB, PAGE, Script, type Setup } from './script.ts';

/** A family of scripts: a file system, a kind of workload, and how many of them are recorded. */
export interface Family {
  readonly name: string;
  readonly seeds: number;
  /** Recorded twice: two runs of the kernel itself differ, and their spread is the most that a replay can reach. */
  readonly twice: boolean;
  make(prng: Prng): Script;
}

const ADVICE = ['normal', 'sequential', 'random', 'noreuse', 'willneed', 'dontneed'] as const;
const READAHEAD_KB = [4, 16, 32, 64, 128, 128, 128, 200, 256, 512, 1024, 2048, 4096, 8192] as const;

/**
 * A file with content and a handle on it. On tmpfs the script itself writes the content: what is there before a
 * recording starts has been through memory compaction, which splits large folios as it happens to need.
 */
function openFilled(s: Script, size: number): number {
  if (s.setup.fs !== 'tmpfs') return s.open(s.file(size), 'rw');
  const h = s.open(s.file(0), 'rw');
  while (s.sizeOf(h) < size) s.write(h, Math.min(s.prng.pick([MiB, 3 * MiB, 300000]), size - s.sizeOf(h)));
  return h;
}

type Burst = () => void;
function bursts(s: Script, n: number, choices: readonly Burst[]): void {
  for (let i = 0; i < n; i++) s.prng.pick(choices)();
}

function reads(prng: Prng, base: Setup): Script {
  const s = new Script(prng, { ...base, readaheadKb: prng.pick(READAHEAD_KB) });
  const a = s.file(prng.between(2, 24) * MiB + prng.pick([0, 0, 1, 5000]));
  const b = s.file(prng.pick([100, 70000, 500000, 6 * MiB]));
  const handles = [s.open(a, 'r'), s.open(a, 'r'), s.open(b, 'r')];
  const any = (): number => prng.pick(handles);
  bursts(s, 12, [
    () => p.readOn(s, any()),
    () => p.readOn(s, any()),
    () => p.readRandom(s, any()),
    () => p.readStride(s, any()),
    () => p.readBack(s, any()),
    () => p.readTurns(s, any(), any()),
    () => p.readHops(s, any()),
    () => p.readHops(s, any()),
  ]);
  return s;
}
function advised(prng: Prng, base: Setup): Script {
  const s = new Script(prng, { ...base, readaheadKb: prng.pick(READAHEAD_KB) });
  const a = s.file(prng.between(4, 16) * MiB + prng.pick([0, 3000]));
  const handles = [s.open(a, 'r'), s.open(a, 'r')];
  const any = (): number => prng.pick(handles);
  for (let i = 0; i < 8; i++) {
    p.advise(s, any(), ADVICE);
    if (prng.below(3) === 0) p.ahead(s, any());
    bursts(s, 2, [
      () => p.readOn(s, any()),
      () => p.readHops(s, any()),
      () => p.readRandom(s, any()),
      () => p.readStride(s, any()),
    ]);
  }
  return s;
}
function writes(prng: Prng, base: Setup): Script {
  const s = new Script(prng, { ...base, readaheadKb: prng.pick(READAHEAD_KB) });
  const grown = s.file(0);
  const g = [s.open(grown, 'rwc'), s.open(grown, 'rw')];
  const o = openFilled(s, prng.between(2, 12) * MiB + prng.pick([0, 777]));
  const tail = s.open(grown, 'rwa');
  const any = (): number => prng.pick([...g, o]);
  const noExtents = base.fs === 'ext2';
  bursts(s, 14, [
    () => p.appendOn(s, prng.pick(g)),
    () => p.appendOn(s, any()),
    () => p.appendMixed(s, prng.pick(g)),
    () => p.appendMixed(s, tail),
    () => p.overwrite(s, any()),
    () => p.overwrite(s, o),
    () => p.writeBeyond(s, any()),
    () => p.readBackWritten(s, any()),
    () => p.readOn(s, o),
    () => (prng.below(2) === 0 ? s.fsync(any()) : s.sync()),
    () => (noExtents ? p.appendMixed(s, any()) : p.allocate(s, any())),
  ]);
  return s;
}
/** The plain case by itself: a few handles append, with syncs between, to one new file each. */
function appends(prng: Prng, base: Setup): Script {
  const s = new Script(prng, base);
  const handles = [s.open(s.file(0), 'rwc'), s.open(s.file(0), 'rwc')];
  bursts(s, 10, [
    () => p.appendOn(s, prng.pick(handles)),
    () => p.appendMixed(s, prng.pick(handles)),
    () => p.appendMixed(s, prng.pick(handles)),
    () => s.fsync(prng.pick(handles)),
  ]);
  const again = s.open(1, 'rwt');
  p.appendMixed(s, again);
  p.readBackWritten(s, handles[1] as number);
  return s;
}
function cuts(prng: Prng, base: Setup): Script {
  const s = new Script(prng, { ...base, readaheadKb: prng.pick(READAHEAD_KB) });
  const handles = [openFilled(s, prng.between(3, 12) * MiB + prng.pick([0, 1234])), s.open(s.file(0), 'rwc')];
  const any = (): number => prng.pick(handles);
  const canPunch = base.fs !== 'ext2';
  p.readOn(s, handles[0] as number);
  p.appendMixed(s, handles[1] as number);
  for (let i = 0; i < 9; i++) {
    if (canPunch && prng.below(2) === 0) p.hole(s, any());
    else p.cut(s, any());
    bursts(s, 2, [
      () => p.readOn(s, any()),
      () => p.readRandom(s, any()),
      () => p.appendMixed(s, any()),
      () => p.overwrite(s, any()),
      () => p.readBackWritten(s, any()),
      () => s.fsync(any()),
    ]);
  }
  return s;
}
function drops(prng: Prng, base: Setup): Script {
  const s = new Script(prng, { ...base, readaheadKb: prng.pick(READAHEAD_KB) });
  const a = s.file(prng.between(4, 16) * MiB + 100);
  const handles = [s.open(a, 'rw'), s.open(s.file(0), 'rwc')];
  const any = (): number => prng.pick(handles);
  p.appendMixed(s, handles[1] as number);
  for (let i = 0; i < 9; i++) {
    bursts(s, 2, [() => p.readOn(s, any()), () => p.overwrite(s, any()), () => p.appendMixed(s, any())]);
    p.drop(s, any());
  }
  return s;
}
function direct(prng: Prng, base: Setup): Script {
  const s = new Script(prng, { ...base, readaheadKb: prng.pick([64, 128, 512]) });
  const a = s.file(prng.between(4, 16) * MiB);
  const h = s.open(a, 'rw');
  const d = s.open(a, 'rwd');
  const unit = Math.max(PAGE, base.blockSize ?? PAGE);
  const at = (): number => Math.floor(prng.below(s.sizeOf(h)) / unit) * unit;
  const length = (): number => unit * prng.pick([1, 1, 2, 5, 16, 64]);
  bursts(s, 16, [
    () => p.readOn(s, h),
    () => p.readHops(s, h),
    () => p.overwrite(s, h),
    () => s.pread(d, at(), length()),
    () => s.pread(d, at(), length()),
    () => s.pwrite(d, at(), length()),
    () => s.pwrite(d, at(), length()),
    () => s.pwrite(d, Math.ceil(s.sizeOf(h) / unit) * unit, length()),
  ]);
  return s;
}

/** Reads a whole file `rounds` times from its beginning. */
function loop(s: Script, h: number, length: number, rounds: number): void {
  for (let round = 0; round < rounds; round++) {
    s.lseek(h, 0);
    for (let n = Math.ceil(s.sizeOf(h) / length); n > 0; n--) s.read(h, length);
  }
}
const roundTo = (x: number, unit: number): number => Math.floor(x / unit) * unit;

function limitLoop(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([16, 32, 64, 128]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: prng.pick([16, 128, 128, 1024]) });
  const h = s.open(s.file(roundTo(memcg * prng.pick([0.6, 1.1, 1.2, 1.5, 2]), PAGE)), 'r');
  loop(s, h, prng.pick([16 * KiB, 64 * KiB, 256 * KiB]), 3);
  return s;
}
function limitHot(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([32, 64]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: prng.pick([32, 128]) });
  const hotSize = roundTo(memcg / prng.pick([2, 3, 5]), PAGE);
  const hot = s.open(s.file(hotSize), 'r');
  const scan = s.open(s.file(3 * memcg), 'r');
  s.fadvise(hot, 0, 0, 'random');
  loop(s, hot, 16 * KiB, 2);
  for (let n = 0; n < 3000; n++) {
    s.pread(hot, prng.below(hotSize / PAGE) * PAGE, PAGE);
    if (s.positionOf(scan) >= s.sizeOf(scan)) s.lseek(scan, 0);
    s.read(scan, 64 * KiB);
  }
  return s;
}
/** Page numbers below `n` with a long tail: the rank is n^u, so each decade of ranks is as likely as the next. */
function zipfPage(prng: Prng, n: number): number {
  return (Math.floor(n ** prng.float()) * 7919) % n;
}
function limitZipf(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([16, 32]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: 128 });
  const h = s.open(s.file(memcg * prng.pick([2, 4])), 'r');
  if (prng.below(2) === 0) s.fadvise(h, 0, 0, 'random');
  const pages = s.sizeOf(h) / PAGE;
  for (let n = 0; n < 15000; n++) s.pread(h, zipfPage(prng, pages) * PAGE, prng.below(8) === 0 ? 4 * PAGE : PAGE);
  return s;
}
function limitTwo(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([32, 64]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: prng.pick([128, 512]) });
  const handles = [s.open(s.file(roundTo(memcg * 0.8, PAGE)), 'r'), s.open(s.file(2 * memcg), 'r')];
  for (let n = 0; n < 60; n++) {
    const h = prng.pick(handles);
    s.lseek(h, roundTo(prng.below(s.sizeOf(h)), PAGE));
    const length = prng.pick([PAGE, 16 * KiB, 128 * KiB, MiB]);
    for (let k = Math.min(200, Math.ceil((4 * MiB) / length)); k > 0; k--) s.read(h, length);
  }
  return s;
}
function limitStream(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([32, 64, 256]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: prng.pick([512, 2048, 4096, 8192]) });
  const h = s.open(s.file(Math.min(4 * memcg, 600 * MiB)), 'r');
  loop(s, h, prng.pick([64 * KiB, 256 * KiB, MiB]), 1);
  return s;
}
function limitRandom(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([16, 32]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: 128 });
  const h = s.open(s.file(2 * memcg), 'r');
  s.fadvise(h, 0, 0, 'random');
  for (let n = 0; n < 12000; n++) s.pread(h, prng.below(s.sizeOf(h) / PAGE) * PAGE, PAGE);
  return s;
}
function limitWrite(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([16, 32]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: 128 });
  const h = s.open(s.file(0), 'rwc');
  const old = s.open(s.file(memcg), 'rw');
  for (let n = 0; n < 40; n++) {
    const length = prng.pick([PAGE, 64 * KiB, 300000, MiB]);
    for (let k = Math.max(1, Math.floor((2 * MiB) / length / 2)); k > 0; k--) s.write(h, length);
    s.fsync(h);
    if (prng.below(2) === 0) p.readOn(s, old);
    else p.readRandom(s, h);
  }
  return s;
}
function limitMixed(prng: Prng, base: Setup): Script {
  const memcg = prng.pick([16, 32, 64]) * MiB;
  const s = new Script(prng, { ...base, memcg, readaheadKb: prng.pick([64, 128, 256]) });
  const handles = [s.open(s.file(2 * memcg), 'rw'), s.open(s.file(memcg), 'rw'), s.open(s.file(MiB), 'rw')];
  const any = (): number => prng.pick(handles);
  for (let n = 0; n < 120; n++) {
    bursts(s, 1, [
      () => p.readOn(s, any()),
      () => p.readOn(s, any()),
      () => p.readRandom(s, any()),
      () => p.readTurns(s, any(), any()),
      () => p.readHops(s, any()),
      () => p.drop(s, any()),
    ]);
  }
  return s;
}

type Maker = (prng: Prng, base: Setup) => Script;
const DISKS: readonly (readonly [string, Setup, number])[] = [
  ['xfs', { fs: 'xfs' }, 2],
  ['ext4', { fs: 'ext4' }, 2],
  ['btrfs', { fs: 'btrfs' }, 1],
  ['ext2', { fs: 'ext2' }, 1],
  ['xfs1k', { fs: 'xfs', blockSize: 1024 }, 1],
  ['xfs16k', { fs: 'xfs', blockSize: 16384 }, 1],
  ['xfs64k', { fs: 'xfs', blockSize: 65536 }, 1],
  ['ext4-1k', { fs: 'ext4', blockSize: 1024 }, 1],
];
const TMPFS: readonly (readonly [string, Setup, number])[] = ['never', 'always', 'within_size', 'advise'].map(
  (huge) => [`tmpfs-${huge.replace('_', '-')}`, { fs: 'tmpfs', mountOption: `huge=${huge}` }, 1],
);
const LIMITED: readonly (readonly [string, Setup, number])[] = [
  ['xfs', { fs: 'xfs' }, 2],
  ['ext4', { fs: 'ext4' }, 1],
  ['btrfs', { fs: 'btrfs' }, 1],
];

function over(
  places: readonly (readonly [string, Setup, number])[],
  kinds: Readonly<Record<string, Maker>>,
  more: number,
  twice: boolean,
): Family[] {
  return Object.entries(kinds).flatMap(([kind, maker]) =>
    places.map(([place, setup, seeds]) => ({
      name: `${kind}-${place}`,
      seeds: seeds * more,
      twice,
      make: (prng: Prng) => maker(prng, setup),
    })),
  );
}

export const FAMILIES: readonly Family[] = [
  ...over(DISKS, { read: reads, write: writes, cut: cuts, append: appends }, 1, false),
  ...over(DISKS.slice(0, 4), { advise: advised, drop: drops, direct }, 1, false),
  ...over(TMPFS, { write: writes, cut: cuts }, 1, false),
  ...over(
    LIMITED,
    {
      'limit-loop': limitLoop,
      'limit-hot': limitHot,
      'limit-zipf': limitZipf,
      'limit-two': limitTwo,
      'limit-stream': limitStream,
      'limit-random': limitRandom,
      'limit-write': limitWrite,
      'limit-mixed': limitMixed,
    },
    1,
    true,
  ),
  ...MAPPINGS,
  ...ANONYMOUS,
];

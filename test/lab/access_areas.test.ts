import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { areasFromMaps, areasFromRegions } from '../../src/lab/access_areas.ts';
import { TouchedPages } from '../../src/lab/touched_pages.ts';
import { PROT_EXEC, PROT_READ, PROT_WRITE, SHARED } from '../../src/trace/event.ts';

const LOAD = 1;
const STORE = 2;
const FETCH = 4;
const MIB = 2 ** 20;

describe('areas that are guessed', () => {
  test('code, constants, heap, stack', () => {
    const areas = areasFromRegions(
      [
        { start: 0x400000, end: 0x40f000, touched: FETCH },
        { start: 0x420000, end: 0x422000, touched: FETCH | LOAD },
        { start: 0x540000, end: 0x541000, touched: LOAD },
        { start: 0x600000, end: 0x603000, touched: LOAD | STORE },
        { start: 0x600000 + 100 * MIB, end: 0x601000 + 100 * MIB, touched: LOAD },
        { start: 0x600000 + 100.5 * MIB, end: 0x601000 + 100.5 * MIB, touched: STORE },
        { start: 0x7ffff0000000, end: 0x7ffff0001000, touched: STORE },
      ],
      4096,
    );
    expect(areas.map(({ start, end, prot, file }) => [start, end, prot, file !== ''])).toEqual([
      [0x400000, 0x422000, PROT_READ | PROT_EXEC, true],
      [0x540000, 0x603000, PROT_READ | PROT_WRITE, false],
      [0x600000 + 100 * MIB, 0x601000 + 100.5 * MIB, PROT_READ | PROT_WRITE, false],
      [0x7ffff0000000, 0x7ffff0001000, PROT_READ | PROT_WRITE, false],
    ]);
  });

  test('data that nobody stores to is a file; code that is stored to is anonymous; larger pages', () => {
    const regions = [
      { start: 0x10000, end: 0x11000, touched: LOAD },
      { start: 0x10000000, end: 0x10003000, touched: FETCH | STORE },
    ];
    expect(areasFromRegions(regions, 65536)).toEqual([
      { start: 0x10000, end: 0x20000, prot: PROT_READ, file: 'file at 10000', offset: 0 },
      { start: 0x10000000, end: 0x10010000, prot: PROT_READ | PROT_WRITE | PROT_EXEC, file: '', offset: 0 },
    ]);
  });

  test('random regions: every touched page in one area, areas ascending and apart', () => {
    const r = new Prng(3);
    for (let round = 0; round < 200; round++) {
      let at = 0;
      const regions = Array.from({ length: 30 }, () => {
        const start = at + r.below(600) * 4096;
        at = start + (1 + r.below(40)) * 4096;
        return { start, end: at, touched: 1 + r.below(7) };
      });
      const areas = areasFromRegions(regions, r.below(2) === 0 ? 4096 : 16384);
      for (let i = 1; i < areas.length; i++) expect(areas[i]?.start).toBeGreaterThanOrEqual(areas[i - 1]?.end ?? 0);
      for (const { start, end, touched } of regions)
        for (let p = start; p < end; p += 4096) {
          const area = areas.find((a) => a.start <= p && p < a.end);
          expect(area, `round ${round} page ${p}`).toBeDefined();
          if ((touched & STORE) !== 0) expect(area?.file).toBe('');
        }
    }
  });
});

describe('areas from /proc/PID/maps', () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-maps-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const maps = (text: string) => {
    const path = join(folder, 'maps');
    writeFileSync(path, text);
    return areasFromMaps(path);
  };

  test('files, anonymous memory, names of the kernel’s own', () => {
    expect(
      maps(`00400000-00402000 r-xp 00001000 fe:00 131 /usr/bin/x y
00600000-00601000 rw-p 00000000 00:00 0 
01000000-01021000 rw-p 00000000 00:00 0          [heap]
7f0000000000-7f0000001000 rw-s 00000000 00:01 99 /dev/shm/a
7ffff7fc0000-7ffff7fc4000 r--p 00000000 00:00 0          [vvar]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]
`),
    ).toEqual([
      { start: 0x400000, end: 0x402000, prot: PROT_READ | PROT_EXEC, file: '/usr/bin/x y', offset: 4096 },
      { start: 0x600000, end: 0x601000, prot: PROT_READ | PROT_WRITE, file: '', offset: 0 },
      { start: 0x1000000, end: 0x1021000, prot: PROT_READ | PROT_WRITE, file: '', offset: 0 },
      {
        start: 0x7f0000000000,
        end: 0x7f0000001000,
        prot: PROT_READ | PROT_WRITE | SHARED,
        file: '/dev/shm/a',
        offset: 0,
      },
      { start: 0x7ffff7fc0000, end: 0x7ffff7fc4000, prot: PROT_READ, file: '[vvar]', offset: 0 },
    ]);
  });

  test('what is wrong is said with its line', () => {
    const good = '00400000-00402000 r-xp 00001000 fe:00 131 /x\n';
    for (const [text, line] of [
      ['', /maps: no areas in it/],
      [`${good}hello\n`, /maps:2: expected areas/],
      [`${good}00401000-00403000 rw-p 00000000 00:00 0 \n`, /maps:2: .*ascending/],
      ['00402000-00402000 rw-p 00000000 00:00 0 \n', /maps:1: /],
      ['00402001-00403000 rw-p 00000000 00:00 0 \n', /maps:1: /],
      ['10000000000000-20000000000000 rw-p 00000000 00:00 0 \n', /maps:1: /],
    ] as const) {
      expect(() => maps(text)).toThrow(InputError);
      expect(() => maps(text)).toThrow(line);
    }
  });
});

describe('touched pages', () => {
  test('agree with a set', () => {
    const end = 2 ** 47;
    for (let seed = 1; seed <= 20; seed++) {
      const r = new Prng(seed);
      let touched = new TouchedPages(end);
      let plain = new Set<number>();
      const bases = Array.from({ length: 4 }, () => r.below(2 ** 16) * 2 ** 31 + r.below(2 ** 10) * 2 ** 21);
      const page = () => (bases[r.below(4)] as number) + r.below(300) * 4096;
      for (let step = 0; step < 400; step++) {
        const what = r.below(20);
        const from = page();
        const length = r.below(64) * 4096;
        if (what === 0) {
          touched.remove(from, from + length);
          for (let p = from; p < from + length; p += 4096) plain.delete(p);
        } else if (what === 1) {
          const to = page() + 2 ** 27;
          const moved = [...plain].filter((p) => p >= from && p < from + length);
          touched.move(from, from + length, to);
          for (const p of moved) plain.delete(p);
          for (const p of moved) plain.add(to + p - from);
        } else if (what === 2) {
          touched = touched.copy(end);
          plain = new Set(plain);
        } else {
          const address = Float64Array.from({ length: 50 }, () => page() + r.below(4096));
          const size = Uint16Array.from({ length: 50 }, () => 1 + r.below(what === 3 ? 20_000 : 64));
          touched.addAll(address, size, 50);
          for (let i = 0; i < 50; i++) {
            const last = (address[i] as number) + (size[i] as number) - 1;
            for (let p = Math.floor((address[i] as number) / 4096); p <= Math.floor(last / 4096); p++)
              plain.add(p * 4096);
          }
        }
        expect(touched.count, `seed ${seed} step ${step}`).toBe(plain.size);
      }
      for (const p of plain) expect(touched.has(p)).toBe(true);
    }
  });
});

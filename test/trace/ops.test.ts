import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { FADVICE, MADVICE, OP, OPEN_CREATE, OPEN_READ, OPEN_WRITE, OPS, SHARED } from '../../src/trace/event.ts';
import { openOps, opsFrom } from '../../src/trace/ops.ts';
import { usage } from '../../src/trace/ops_shape.ts';
import { root } from '../../tools/sources.ts';
import { drain, rowsOf, textOf } from './rows.ts';

const head = '#quire-ops 1\n#file,1,a.bin,65536\n#file,7,b.bin,0\n';
const read = (body: string, chunk?: number, rows?: number) => opsFrom('x.ops', head + body, chunk, rows);
const message = (text: string): string => {
  try {
    drain(opsFrom('x.ops', text));
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as InputError).message;
  }
  return 'no error';
};

describe('reading', () => {
  test('one line of each operation', () => {
    const lines = [
      'open,1,1,rw',
      'read,1,4096',
      'write,1,1',
      'pread,1,8796093018112,4096',
      'pwrite,1,0,16777216',
      'lseek,1,8796093022208',
      'fsync,1',
      'sync',
      'fadvise,1,0,0,willneed',
      'readahead,1,4096,1073741824',
      'ftruncate,1,100',
      'punch,1,10,20',
      'fallocate,1,0,5',
      'mmap,4095,1,8192,4097,rw,shared',
      'touch,4095,1,4096,w',
      'madvise,4095,0,8192,populate_read',
      'mprotect,4095,4096,1,rx',
      'mlock,4095,1,2',
      'munmap,4095,0,8192',
      'mmap,0,-,0,2097152,r,private,2093056',
      'touch,0,0,2097152,r',
      'fork',
      'close,1',
    ];
    const source = read(`${lines.join('\n')}\n`);
    const rows = rowsOf(source);
    expect(rows.map((r) => OPS[r.op])).toEqual(lines.map((line) => line.split(',')[0]));
    expect(new Set(rows.map((r) => r.op)).size).toBe(OPS.length);
    expect(rows.map((r) => r.line)).toEqual(lines.map((_, i) => i + 4));
    expect(source.skipped).toEqual({});
    expect(rows[0]).toMatchObject({ id: 1, file: 1, arg: OPEN_READ | OPEN_WRITE });
    expect(rows[3]).toMatchObject({ id: 1, offset: 8796093018112, length: 4096 });
    expect(rows[8]).toMatchObject({ arg: FADVICE.indexOf('willneed') });
    expect(rows[13]).toMatchObject({ id: 4095, file: 1, offset: 8192, length: 4097, arg: SHARED | 3, at: 0 });
    expect(rows[15]).toMatchObject({ arg: MADVICE.indexOf('populate_read') });
    expect(rows[19]).toMatchObject({ id: 0, file: -1, arg: 1, at: 2093056 });
    expect(
      textOf(read(`${lines.join('\n')}\n`))
        .split('\n')
        .slice(4),
    ).toEqual([...lines, '']);
  });

  test('settings, files, remarks, empty lines, carriage returns', () => {
    const source = opsFrom(
      'run/x.ops',
      '#quire-ops 1\r\n# a remark\r\n\r\n#fs,ext4\r\n#blocksize,1024\r\n#ra_kb,512\r\n#memcg,67108864\r\n' +
        '#thp,64kB=always,top=madvise\r\n#thp,2048kB=never\r\n#mountopt,huge=always\r\n#khugepaged,1\r\n' +
        '#file,3,späte.bin,12\r\n\r\nsync\r\n# between\r\n\r\nsync\r\n',
    );
    expect(source.name).toBe('x.ops');
    expect(source.settings).toEqual({
      fs: 'ext4',
      blockSize: 1024,
      readaheadKb: 512,
      memcg: 67108864,
      thp: { '64kB': 'always', top: 'madvise', '2048kB': 'never' },
      mountOption: 'huge=always',
      khugepaged: true,
    });
    expect(source.files).toEqual([{ id: 3, name: 'späte.bin', size: 12 }]);
    expect(rowsOf(source).map((r) => r.line)).toEqual([14, 17]);
  });

  test('open without r or w is for reading; c alone makes the file', () => {
    expect(rowsOf(read('open,1,7,c\n'))[0]).toMatchObject({ arg: OPEN_CREATE | OPEN_READ });
  });

  test('an empty script has no events', () => {
    expect(opsFrom('x.ops', '#quire-ops 1\n').next()).toBeNull();
  });

  test('what has nothing to work on is counted and left out', () => {
    const source = read(
      'read,5,1\nopen,1,1,r\nwrite,1,1\npwrite,1,0,1\nclose,1\nread,1,1\nread,1,1\nclose,1\nopen,2,7,w\npread,2,0,1\n' +
        'touch,3,0,1,r\nmmap,3,1,0,4096,r,shared\nmmap,3,2,0,4096,r,private\nmadvise,3,0,4096,free\nmmap,4,-,0,4096,r,private\n' +
        'munmap,4,0,4096\ntouch,4,0,1,r\n',
    );
    expect(rowsOf(source).map((r) => OPS[r.op])).toEqual(['open', 'close', 'open', 'mmap', 'munmap']);
    expect(source.skipped).toEqual({
      'read on closed handle': 3,
      'write on handle not open for writing': 1,
      'pwrite on handle not open for writing': 1,
      'close on closed handle': 1,
      'pread on handle not open for reading': 1,
      'mmap on closed handle': 1,
      'mmap on handle not open for it': 1,
      'touch on unmapped mapping': 2,
      'madvise on unmapped mapping': 1,
    });
  });

  test('pieces of any size, batches of any size: the same events', () => {
    const text = readFileSync(`${root}golden/traces/calls.ops`);
    const whole = rowsOf(opsFrom('x.ops', text));
    for (const [chunk, rows] of [
      [4096, 1],
      [4097, 7],
      [5003, 100],
      [1 << 20, 3],
    ]) {
      expect(rowsOf(opsFrom('x.ops', text, chunk, rows))).toEqual(whole);
    }
  });

  test('every script that is kept here reads without a skip', () => {
    for (const folder of ['examples', 'golden/linux-6.18/scripts', 'golden/traces']) {
      for (const name of readdirSync(`${root}${folder}`).filter((file) => file.endsWith('.ops'))) {
        const source = openOps(`${root}${folder}/${name}`);
        expect(drain(source)).toBeGreaterThan(0);
        expect({ name, skipped: source.skipped }).toEqual({ name, skipped: {} });
        source.close();
      }
    }
  });
});

describe('bad scripts: one line that says where, what, and what was expected', () => {
  test.each([
    ['', 'x.ops: empty file, expected "#quire-ops 1"'],
    ['read,1,1\n', 'x.ops:1: the first line is "read,1,1", expected "#quire-ops 1"'],
    ['#quire-ops 2\n', 'x.ops:1: the first line is "#quire-ops 2", expected "#quire-ops 1"'],
    ['\n#quire-ops 1\n', 'x.ops:1: the first line is "", expected "#quire-ops 1"'],
    [
      '\u0000\u0001\u0002',
      'x.ops:1: the file ends within the line "\\x00\\x01\\x02", expected a line end: is it cut off?',
    ],
    ['\u0000\u0001\n', 'x.ops:1: the first line is "\\x00\\x01", expected "#quire-ops 1"'],
    ['#quire-ops 1\n#colour,1\n', 'x.ops:2: setting "colour", expected #fs'],
    ['#quire-ops 1\n#fs,ntfs\n', 'x.ops:2: file system "ntfs", expected xfs, ext4'],
    ['#quire-ops 1\n#fs\n', 'x.ops:2: "#fs" has 0 values, expected 1'],
    ['#quire-ops 1\n#blocksize,1000\n', 'x.ops:2: block size 1000, expected a power of two from 512 to 65536'],
    ['#quire-ops 1\n#ra_kb,-1\n', 'x.ops:2: read-ahead "-1" is not a number, expected 0 to 1048576'],
    ['#quire-ops 1\n#memcg,99999999999999\n', 'x.ops:2: memory limit "99999999999999" is too large, expected 0 to 879'],
    ['#quire-ops 1\n#thp,64=on\n', 'x.ops:2: "64=on", expected SIZE=MODE as in 64kB=always'],
    ['#quire-ops 1\n#thp,64kB=on\n', 'x.ops:2: mode "on", expected always, madvise'],
    ['#quire-ops 1\n#khugepaged,2\n', 'x.ops:2: khugepaged "2" is too large, expected 0 to 1'],
    ['#quire-ops 1\n#file,1,a\n', 'x.ops:2: "#file,1,a", expected #file,ID,NAME,SIZE'],
    ['#quire-ops 1\n#file,1,a/b,0\n', 'x.ops:2: file name "a/b", expected a name without slashes'],
    ['#quire-ops 1\n#file,1,..,0\n', 'x.ops:2: file name ".."'],
    ['#quire-ops 1\n#file,1,a,1e3\n', 'x.ops:2: size "1e3" is not a number'],
    ['#quire-ops 1\n#file,1,a,9007199254740993\n', 'x.ops:2: size "9007199254740993" is too large'],
    ['#quire-ops 1\n#file,1,a,0\n#file,1,b,0\n', 'x.ops:3: file 1 is declared twice'],
    ['#quire-ops 1\n#file,1,a,0\n#file,2,a,0\n', 'x.ops:3: file name "a" is declared twice'],
    [`#quire-ops 1\n#file,1,${'n'.repeat(256)},0\n`, 'x.ops:2: file name "nnn'],
  ])('%j', (text, expected) => {
    expect(message(text).slice(0, expected.length)).toBe(expected);
  });

  test.each([
    ['jump,1', 'no operation "jump", expected one of open close read'],
    ['reads,1,1', 'no operation "reads", expected one of'],
    ['constructor', 'no operation "constructor", expected one of'],
    ['open', '"open" has 0 fields after open, expected open,H,FILE,FLAGS'],
    ['read,1', '"read,1" has 1 field after read, expected read,H,LEN'],
    ['read,1,1,', '"read,1,1," has 3 fields after read, expected read,H,LEN'],
    ['sync,', '"sync," has 1 field after sync, expected sync'],
    ['mmap,1,-,0,4096,r', '"mmap,1,-,0,4096,r" has 5 fields after mmap, expected mmap,M,H,OFF,LEN,PROT,SHARING[,AT]'],
    ['read,4096,1', 'handle "4096" is too large, expected 0 to 4095 (read,H,LEN)'],
    ['read,-1,1', 'handle "-1" is negative, expected 0 to 4095'],
    ['read,,1', 'handle "" is not a number, expected 0 to 4095'],
    ['read,1,-4096', 'length "-4096" is negative, expected 0 to 16777216'],
    ['read,1,16777217', 'length "16777217" is too large, expected 0 to 16777216'],
    ['read,1,1e3', 'length "1e3" is not a number'],
    ['read,1, 1', 'length " 1" is not a number'],
    ['read,1,1 ', 'length "1 " is not a number'],
    ['read,1,0x10', 'length "0x10" is not a number'],
    ['pread,1,8796093022209,0', 'offset "8796093022209" is too large, expected 0 to 8796093022208'],
    [`pread,1,${'9'.repeat(400)},0`, 'offset "999'],
    ['pread,1,8796093022208,1', '"pread,1,8796093022208,1" goes past 8 TiB, expected offset and length of at most'],
    ['open,1,2,r', 'file 2 is not declared, expected a line #file,2,NAME,SIZE at the head of the script'],
    ['open,1,1,rq', 'flags "rq", expected letters of r w c t a d'],
    ['open,1,1,', 'flags "", expected letters of'],
    ['fadvise,1,0,0,maybe', 'advice "maybe", expected one of normal sequential'],
    ['madvise,1,0,4096,maybe', 'advice "maybe", expected one of normal random'],
    ['madvise,1,1,4096,free', 'offset "1", expected a multiple of 4096'],
    ['punch,1,0,0', 'length "0" is too small, expected 1 to'],
    ['mmap,1,x,0,4096,r,shared', 'handle "x" is not a number'],
    ['mmap,1,-1,0,4096,r,shared', 'handle "-1" is negative'],
    ['mmap,1,-,100,4096,r,shared', 'offset "100", expected a multiple of 4096'],
    ['mmap,1,-,0,4096,q,shared', 'protection "q", expected letters of r w x'],
    ['mmap,1,-,0,4096,r,both', 'sharing "both", expected one of shared private'],
    ['mmap,1,-,0,4096,r,shared,4198400', 'start "4198400" is too large, expected 0 to 4194304'],
    ['touch,1,0,4096,x', 'access "x", expected r or w'],
    ['#fs,xfs', '"#fs,xfs" after the first operation, expected # lines at the head'],
    ['\u0000\u0000', '"\\x00\\x00" is no operation, expected a line such as read,1,4096'],
    ['read\u0000,1,1', '"read\\x00,1,1" is no operation'],
  ])('%j', (line, expected) => {
    const said = message(`${head}sync\n${line}\nsync\n`);
    expect(said.slice(0, `x.ops:5: ${expected}`.length)).toBe(`x.ops:5: ${expected}`);
    expect(said).not.toContain('\n');
    expect(said.length).toBeLessThan(300);
  });

  test('a range past a mapping', () => {
    const said = message(`${head}mmap,1,-,0,5000,rw,private\nmlock,1,0,8192\ntouch,1,4096,905,w\n`);
    expect(said).toBe('x.ops:6: "touch,1,4096,905,w" goes past the mapping, expected a range within its 5000 bytes');
  });

  test('a file that is cut off within a line', () => {
    expect(message(`${head}sync\nread,1,40`)).toBe(
      'x.ops:5: the file ends within the line "read,1,40", expected a line end: is it cut off?',
    );
  });

  test('a line without end', () => {
    expect(message(`${head}sync\n${'a'.repeat(1 << 21)}`)).toBe(
      'x.ops:5: a line longer than 4096 bytes, expected an operation',
    );
    expect(message(head + '#'.repeat(5000))).toBe('x.ops:4: a line longer than 4096 bytes, expected an operation');
  });

  test('files that are not there', () => {
    expect(() => openOps(`${root}no/such.ops`)).toThrow(`${root}no/such.ops: no such file, expected a recording`);
    expect(() => openOps(root)).toThrow('a folder, expected a recording');
  });

  test('every operation has a usage line', () => {
    expect(OPS.map((_, op) => usage(op).split(/[,[]/)[0])).toEqual([...OPS]);
  });
});

describe('writing and reading again', () => {
  const whole = (max: number) => fc.integer({ min: 0, max });
  const bytes = fc.double({ min: 0, max: 2 ** 42, noNaN: true }).map(Math.floor);
  const pages = whole(2 ** 30).map((n) => n * 4096);
  const line = fc.oneof(
    fc.tuple(fc.constantFrom('read', 'write'), whole(3), whole(2 ** 24)),
    fc.tuple(fc.constantFrom('pread', 'pwrite'), whole(3), bytes, whole(2 ** 24)),
    fc.tuple(fc.constantFrom('lseek', 'ftruncate'), whole(3), bytes),
    fc.tuple(fc.constant('fadvise'), whole(3), bytes, bytes, fc.constantFrom(...FADVICE)),
    fc.tuple(
      fc.constantFrom('punch', 'fallocate'),
      whole(3),
      bytes,
      whole(2 ** 31 - 2).map((n) => n + 1),
    ),
    fc.tuple(fc.constantFrom('fsync'), whole(3)),
    fc.tuple(
      fc.constant('mmap'),
      whole(4095),
      fc.constantFrom('-', '0', '3'),
      pages,
      whole(2 ** 31 - 2).map((n) => n + 1),
      fc.constantFrom('r', 'rw', 'rx', 'rwx'),
      fc.constantFrom('private', 'shared'),
      whole(510).map((n) => 4096 + n * 4096),
    ),
    fc.tuple(fc.constantFrom('sync', 'fork')),
  );

  test('gives the same text', () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 60 }), (lines) => {
        const opens = [0, 1, 2, 3].map((h) => `open,${h},1,rw`);
        const text = `#quire-ops 1\n#fs,xfs\n#file,1,a,5\n${[...opens, ...lines.map((l) => l.join())].join('\n')}\n`;
        expect(textOf(opsFrom('x.ops', text))).toBe(text);
      }),
      { seed: 20251121, numRuns: 300 },
    );
  });
});

test('operation numbers are those of the event table', () => {
  expect(OP.open).toBe(0);
  expect(OP.fork).toBe(OPS.length - 1);
});

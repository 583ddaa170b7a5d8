import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/base/errors.ts';
import { opsFrom } from '../../src/trace/ops.ts';
import { openStrace, straceFrom } from '../../src/trace/strace.ts';
import { annotation, parseCall, parseLine, unquote } from '../../src/trace/strace_line.ts';
import { root } from '../../tools/sources.ts';
import { drain, operations, textOf } from './rows.ts';

const log = (...lines: readonly string[]) => straceFrom('x.strace', `${lines.join('\n')}\n`);
const files = (source: ReturnType<typeof log>) => source.files.map((f) => `${f.name} ${f.size}`);
/** A file that is open for reading and writing as handle 3, of unknown size. */
const OPEN = '7 openat(AT_FDCWD</srv>, "a.bin", O_RDWR) = 3</srv/a.bin>';

describe('recordings that are kept here', () => {
  test.each(['calls', 'sqlite-ttt', 'git-commit'])('%s', (name) => {
    const source = openStrace(`${root}golden/traces/${name}.strace`);
    const text = textOf(source);
    expect(text).toBe(readFileSync(`${root}golden/traces/${name}.ops`, 'utf8'));
    const script = opsFrom(name, text);
    drain(script);
    expect(script.skipped).toEqual({});
    expect(source.skipped['odd line']).toBeUndefined();
  });

  test('what the calls of calls.c cannot say in a script is counted', () => {
    expect(openStrace(`${root}golden/traces/calls.strace`).skipped).toEqual({
      'not a regular file: /dev': 2,
      'not a regular file: memfd': 1,
      'not a regular file: pipe': 2,
      mremap: 1,
      msync: 1,
      sync_file_range: 1,
    });
  });
});

describe('lines', () => {
  test.each([
    ['read(3, "", 5) = 0', 'call', 0, 'read'],
    ['7080  read(3, "", 5) = 0', 'call', 7080, 'read'],
    ['[pid  7080] read(3, "", 5) = 0', 'call', 7080, 'read'],
    ['7080  1732180000.123456 read(3, "", 5) = 0 <0.000042>', 'call', 7080, 'read'],
    ['1732180000.123456 read(3, "", 5) = 0', 'call', 0, 'read'],
    ['7080 12:59:59 read(3, "", 5) = 0', 'call', 7080, 'read'],
    ['[pid 7080] 12:59:59.123456 read(3, "", 5) = 0', 'call', 7080, 'read'],
    ['7080       0.000123 read(3, "", 5) = 0', 'call', 7080, 'read'],
    ['7080  [00007f6d9a5da000] read(3, "", 5) = 0', 'call', 7080, 'read'],
    ['7080  read(3</srv/a>,  <unfinished ...>', 'unfinished', 7080, 'read'],
    ['7080  <... read resumed>"", 5) = 0', 'resumed', 7080, 'read'],
    ['7080  <... read resumed> "", 5) = 0', 'resumed', 7080, 'read'],
    ['7080  +++ exited with 0 +++', 'exit', 7080, ''],
    ['7080  +++ killed by SIGKILL +++', 'exit', 7080, ''],
    ['7080  +++ superseded by execve in pid 7081 +++', 'superseded', 7080, '7081'],
    ['7080  --- SIGCHLD {si_signo=SIGCHLD} ---', 'signal', 7080, ''],
    ['strace: Process 7080 attached', 'odd', 0, ''],
    ['', 'odd', 0, ''],
    ['\u0000\u0001(((', 'odd', 0, ''],
  ])('%j', (line, kind, pid, name) => {
    expect(parseLine(line)).toMatchObject({ kind, pid, name });
  });

  test('arguments are cut at their own commas', () => {
    const cut = (text: string) => parseCall('x', text)?.args;
    expect(cut('3</a, b(c>, "a, \\"b)", [{iov_base="x", iov_len=1}, {}], 0x1 /* SOME, THING */) = 1')).toEqual([
      '3</a, b(c>',
      '"a, \\"b)"',
      '[{iov_base="x", iov_len=1}, {}]',
      '0x1 /* SOME, THING */',
    ]);
    expect(cut('4<TCP:[127.0.0.1:1->127.0.0.1:2]>, 1<<3, {a=>b}) = 0')).toEqual([
      '4<TCP:[127.0.0.1:1->127.0.0.1:2]>',
      '1<<3',
      '{a=>b}',
    ]);
    expect(cut(') = 5')).toEqual([]);
    expect(cut('1, 2')).toBeUndefined();
    expect(cut('1, 2)')).toBeUndefined();
    expect(parseCall('x', '1) = -1 ENOENT (No such file or directory)')?.result).toBe(-1);
    expect(parseCall('x', '1) = 0x7f6d9a648000')?.result).toBe(0x7f6d9a648000);
    expect(parseCall('x', '1)      = ?')?.result).toBeNaN();
  });

  test('names without their escapes', () => {
    expect(unquote('"a\\303\\251\\n\\"\\\\\\x41"...')).toBe('a\u00c3\u00a9\n"\\A');
    expect(unquote('NULL')).toBeNull();
    expect(annotation('3</srv/a\\74b\\76>')).toBe('/srv/a\\74b\\76');
    expect(annotation('9<pipe:[12]>')).toBe('pipe:[12]');
    expect(annotation('3')).toBeNull();
  });
});

describe('positions and handles', () => {
  test('bytes that were returned, not those asked for', () => {
    expect(
      operations(log(OPEN, '7 read(3</srv/a.bin>, "x"..., 131072) = 1294', '7 read(3</srv/a.bin>, "", 131072) = 0')),
    ).toEqual(['open,0,1,rw', 'read,0,1294']);
  });

  test('dup shares the position, another open does not', () => {
    const source = log(
      OPEN,
      '7 dup(3</srv/a.bin>) = 5</srv/a.bin>',
      '7 read(3</srv/a.bin>, "", 100) = 100',
      '7 read(5</srv/a.bin>, "", 100) = 100',
      '7 openat(AT_FDCWD</srv>, "a.bin", O_RDONLY) = 6</srv/a.bin>',
      '7 read(6</srv/a.bin>, "", 100) = 100',
      '7 close(3</srv/a.bin>) = 0',
      '7 lseek(5</srv/a.bin>, 50, SEEK_SET) = 50',
      '7 lseek(5</srv/a.bin>, 10, SEEK_CUR) = 60',
      '7 read(5</srv/a.bin>, "", 100) = 100',
      '7 close(5</srv/a.bin>) = 0',
    );
    expect(operations(source)).toEqual([
      'open,0,1,rw',
      'read,0,100',
      'read,0,100',
      'open,1,1,r',
      'read,1,100',
      'lseek,0,60',
      'read,0,100',
      'close,0',
    ]);
    expect(files(source)).toEqual(['srv_a.bin 200']);
  });

  test('a forked child shares positions, and has a table of its own', () => {
    const source = log(
      OPEN,
      '7 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>',
      '8 read(3</srv/a.bin>, "", 10) = 10',
      '7 <... clone resumed>, child_tidptr=0x7f6d9a45ba10) = 8',
      '8 close(3</srv/a.bin>) = 0',
      '7 read(3</srv/a.bin>, "", 10) = 10',
      '8 +++ exited with 0 +++',
      '7 +++ exited with 0 +++',
    );
    expect(operations(source)).toEqual(['open,0,1,rw', 'read,0,10', 'read,0,10', 'close,0']);
    expect(source.skipped).toEqual({});
  });

  test('threads share the table; execve closes what is marked', () => {
    const source = log(
      '7 openat(AT_FDCWD</srv>, "b", O_RDONLY|O_CLOEXEC) = 4</srv/b>',
      OPEN,
      '7 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, exit_signal=0}, 88) = 9',
      '9 read(3</srv/a.bin>, "", 10) = 10',
      '9 read(4</srv/b>, "", 10) = 10',
      '9 close(3</srv/a.bin>) = 0',
      '7 read(3, "", 10) = 10',
      '7 +++ superseded by execve in pid 9 +++',
      '7 execve("/bin/x", ["x"], 0x7ffc /* 3 vars */) = 0',
      '7 read(4, "", 10) = 10',
    );
    expect(operations(source)).toEqual(['open,0,1,rw', 'read,0,10', 'open,1,2,r', 'read,1,10', 'close,0', 'close,1']);
    expect(source.skipped).toEqual({ 'read on unknown handle': 2 });
  });

  test('close takes effect when it begins: another thread may get the number', () => {
    const source = log(
      OPEN,
      '7 read(3</srv/a.bin>, "", 10) = 10',
      '7 close(3</srv/a.bin> <unfinished ...>',
      '9 openat(AT_FDCWD</srv>, "b", O_RDONLY) = 3</srv/b>',
      '7 <... close resumed>) = 0',
      '9 read(3</srv/b>, "", 10) = 10',
    );
    expect(operations(source)).toEqual(['open,0,1,rw', 'read,0,10', 'close,0', 'open,0,2,r', 'read,0,10']);
  });

  test('a call in two parts', () => {
    const source = log(
      OPEN,
      '7 pread64(3</srv/a.bin>,  <unfinished ...>',
      '9 --- SIGCHLD {si_signo=SIGCHLD} ---',
      '7 <... pread64 resumed>"\\0\\0", 4096, 8192) = 4096',
    );
    expect(operations(source)).toEqual(['open,0,1,rw', 'pread,0,8192,4096']);
  });

  test('handles that were open before the log began are known by their annotation', () => {
    const source = log(
      '7 read(9</srv/old>, "", 10) = 10',
      '7 read(0</dev/pts/1>, "", 10) = 1',
      '7 write(1, "", 3) = 3',
    );
    expect(operations(source)).toEqual(['open,0,1,rw', 'read,0,10']);
    expect(source.skipped).toEqual({ 'not a regular file: /dev': 1, 'write on unknown handle': 1 });
  });

  test('without -y, paths are joined to the working folder', () => {
    const source = log(
      '7 chdir("/srv") = 0',
      '7 open("x/../a", O_RDONLY) = 3',
      '7 read(3, "", 10) = 10',
      '7 close(3) = 0',
      '7 openat(AT_FDCWD, "/srv/a", O_RDONLY) = 3',
      '7 read(3, "", 10) = 10',
    );
    expect(operations(source)).toEqual(['open,0,1,r', 'read,0,10', 'close,0', 'open,0,1,r', 'read,0,10']);
  });

  test('more handles over a run than a script has numbers', () => {
    const lines: string[] = [];
    for (let i = 0; i < 5000; i++) {
      lines.push(
        `7 openat(AT_FDCWD</srv>, "f", O_RDONLY) = 3</srv/f>`,
        '7 read(3</srv/f>, "", 1) = 1',
        '7 close(3</srv/f>) = 0',
      );
    }
    const source = log(...lines);
    expect(drain(source)).toBe(15_000);
    expect(source.files).toHaveLength(1);
  });

  test('more handles at a time than a script has numbers', () => {
    const lines: string[] = [];
    for (let i = 0; i < 4100; i++) {
      lines.push(`7 openat(AT_FDCWD</srv>, "f", O_RDONLY) = ${i}</srv/f>`, `7 read(${i}</srv/f>, "", 1) = 1`);
    }
    const source = log(...lines);
    expect(drain(source)).toBe(4096 * 2);
    expect(source.skipped).toEqual({ 'more than 4096 files open at a time': 4 });
  });
});

describe('sizes and names', () => {
  test('said by fstat, by a path, by the end of the file', () => {
    const source = log(
      OPEN,
      '7 newfstatat(3</srv/a.bin>, "", {st_mode=S_IFREG|0644, st_size=5000, ...}, AT_EMPTY_PATH) = 0',
      '7 read(3</srv/a.bin>, "", 10) = 10',
      '7 newfstatat(AT_FDCWD</srv>, "b", {st_mode=S_IFREG|0644, st_size=77, ...}, 0) = 0',
      '7 openat(AT_FDCWD</srv>, "b", O_RDONLY) = 4</srv/b>',
      '7 read(4</srv/b>, "", 10) = 10',
      '7 statx(AT_FDCWD</srv>, "c", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=STATX_ALL, stx_mode=S_IFREG|0644, stx_size=88, ...}) = 0',
      '7 openat(AT_FDCWD</srv>, "c", O_RDONLY) = 5</srv/c>',
      '7 read(5</srv/c>, "", 10) = 10',
      '7 openat(AT_FDCWD</srv>, "d", O_RDONLY) = 6</srv/d>',
      '7 lseek(6</srv/d>, 0, SEEK_END) = 99',
      '7 pread64(6</srv/d>, "", 10, 0) = 10',
      '7 openat(AT_FDCWD</srv>, "e", O_RDONLY) = 8</srv/e>',
      '7 pread64(8</srv/e>, "", 10, 100) = 10',
    );
    expect(files(source)).toEqual(['srv_a.bin 5000', 'srv_b 77', 'srv_c 88', 'srv_d 99', 'srv_e 110']);
  });

  test('data beyond what was written was there before', () => {
    const source = log(
      OPEN,
      '7 pwrite64(3</srv/a.bin>, "", 100, 0) = 100',
      '7 pread64(3</srv/a.bin>, "", 100, 50) = 100',
      '7 newfstatat(3</srv/a.bin>, "", {st_mode=S_IFREG|0644, st_size=900, ...}, AT_EMPTY_PATH) = 0',
    );
    expect(files(source)).toEqual(['srv_a.bin 900']);
    expect(source.skipped).toEqual({});
  });

  test('but not where the file was cut before', () => {
    const source = log(
      OPEN,
      '7 ftruncate(3</srv/a.bin>, 0) = 0',
      '7 read(3</srv/a.bin>, "", 100) = 100',
      '7 read(3</srv/a.bin>, "", 100) = 100',
    );
    expect(files(source)).toEqual(['srv_a.bin 0']);
    // Its position in the script is not what it was in the log, so it is set each time.
    expect(operations(source)).toEqual(['open,0,1,rw', 'ftruncate,0,0', 'read,0,100', 'lseek,0,100', 'read,0,100']);
    expect(source.skipped).toEqual({ 'read of data that no logged call wrote': 2 });
  });

  test('a file that is made begins empty', () => {
    const source = log(
      '7 openat(AT_FDCWD</srv>, "n", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</srv/n>',
      '7 write(3</srv/n>, "", 100) = 100',
      '7 close(3</srv/n>) = 0',
      '7 openat(AT_FDCWD</srv>, "n", O_WRONLY|O_APPEND) = 3</srv/n>',
      '7 write(3</srv/n>, "", 5) = 5',
      '7 close(3</srv/n>) = 0',
      '7 openat(AT_FDCWD</srv>, "n", O_RDWR|O_TRUNC) = 3</srv/n>',
    );
    expect(files(source)).toEqual(['srv_n 0']);
    expect(operations(source)).toEqual([
      'open,0,1,wc',
      'write,0,100',
      'close,0',
      'open,0,1,wa',
      'write,0,5',
      'close,0',
      'open,0,1,rwt',
    ]);
  });

  test('renamed and unlinked: the file stays itself, and its pages go with its last name and user', () => {
    const source = log(
      '7 openat(AT_FDCWD</srv>, "t", O_RDWR|O_CREAT|O_EXCL, 0600) = 3</srv/t>',
      '7 write(3</srv/t>, "", 100) = 100',
      '7 rename("/srv/t", "/srv/u") = 0',
      '7 openat(AT_FDCWD</srv>, "u", O_RDONLY) = 4</srv/u>',
      '7 read(4</srv/u>, "", 100) = 100',
      '7 unlink("/srv/u") = 0',
      '7 close(3</srv/u>(deleted)) = 0',
      '7 close(4</srv/u>(deleted)) = 0',
      '7 openat(AT_FDCWD</srv>, "u", O_RDONLY) = 4</srv/u>',
      '7 read(4</srv/u>, "", 7) = 7',
    );
    expect(operations(source)).toEqual([
      'open,0,1,rwc',
      'write,0,100',
      'open,1,1,r',
      'read,1,100',
      'close,0',
      'close,1',
      'open,1,1,wt',
      'close,1',
      'open,1,2,r',
      'read,1,7',
    ]);
    expect(files(source)).toEqual(['srv_u 0', 'srv_u-2 7']);
  });

  test('a folder is renamed with all that is in it', () => {
    const source = log(
      '7 openat(AT_FDCWD</srv>, "d/x", O_RDONLY) = 3</srv/d/x>',
      '7 read(3</srv/d/x>, "", 5) = 5',
      '7 rename("/srv/d", "/srv/e") = 0',
      '7 openat(AT_FDCWD</srv>, "e/x", O_RDONLY) = 4</srv/e/x>',
      '7 read(4</srv/e/x>, "", 5) = 5',
      '7 read(3</srv/e/x>, "", 5) = 5',
    );
    expect(operations(source)).toEqual(['open,0,1,r', 'read,0,5', 'open,1,1,r', 'read,1,5', 'read,0,5']);
  });

  test('names are plain, and each is there once', () => {
    const names = [
      '/srv/a b,c/x',
      '/srv/a_b_c/x',
      '/x',
      '/srv/.git/.x',
      `/srv/${'n'.repeat(300)}`,
      '/srv/\\303\\251/\\n',
    ];
    const lines = names.flatMap((name, i) => [
      `7 openat(AT_FDCWD</srv>, "?", O_RDONLY) = ${i + 3}<${name}>`,
      `7 read(${i + 3}<${name}>, "", 5) = 5`,
    ]);
    const source = log(...lines);
    expect(source.files.map((f) => f.name)).toEqual(['a_b_c_x', 'a_b_c_x-2', 'x', 'git_.x', 'n'.repeat(100), '___']);
    expect(drain(opsFrom('x.ops', textOf(log(...lines))))).toBe(12);
  });
});

describe('calls', () => {
  const one = (...lines: readonly string[]) => operations(log(OPEN, ...lines)).slice(1);
  test.each([
    ['7 pwrite64(3</srv/a.bin>, ""..., 20000000, 5) = 20000000', ['pwrite,0,5,16777216', 'pwrite,0,16777221,3222784']],
    ['7 writev(3</srv/a.bin>, [{iov_base="", iov_len=9}], 1) = 9', ['write,0,9']],
    ['7 preadv2(3</srv/a.bin>, [{iov_base="", iov_len=9}], 1, -1, RWF_HIPRI) = 9', ['read,0,9']],
    ['7 preadv2(3</srv/a.bin>, [{iov_base="", iov_len=9}], 1, 4096, 0) = 9', ['pread,0,4096,9']],
    ['7 fadvise64(3</srv/a.bin>, 0, 0, POSIX_FADV_DONTNEED) = 0', ['fadvise,0,0,0,dontneed']],
    ['7 fallocate(3</srv/a.bin>, 0, 4096, 10) = 0', ['fallocate,0,4096,10']],
    ['7 fallocate(3</srv/a.bin>, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 4096, 10) = 0', ['punch,0,4096,10']],
    ['7 readahead(3</srv/a.bin>, 0, 9223372036854775807) = 0', ['readahead,0,0,8796093022208']],
    ['7 sendfile(1<socket:[5]>, 3</srv/a.bin>, NULL, 100) = 60', ['read,0,60']],
    ['7 sendfile(1<socket:[5]>, 3</srv/a.bin>, [512] => [572], 100) = 60', ['pread,0,512,60']],
    ['7 copy_file_range(3</srv/a.bin>, [0] => [9], 3</srv/a.bin>, [100], 9, 0) = 9', ['pread,0,0,9', 'pwrite,0,100,9']],
    ['7 read(3</srv/a.bin>, 0x7ffe, 5) = -1 EIO (Input/output error)', []],
    ['7 read(3</srv/a.bin>, 0x7ffe, 5) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)', []],
    ['7 fsync(3</srv/a.bin>) = 0', []],
    ['7 futex(0x7ffe, FUTEX_WAIT, 5) = 0', []],
  ])('%s', (line, expected) => {
    const got = one(line);
    expect(got).toEqual(expected.length > 0 ? expected : []);
  });

  test('direct reading keeps its whole blocks', () => {
    const source = log(
      '7 openat(AT_FDCWD</srv>, "a", O_RDONLY|O_DIRECT) = 3</srv/a>',
      '7 read(3</srv/a>, "", 8192) = 5000',
    );
    expect(operations(source)).toEqual(['open,0,1,rd', 'read,0,8192']);
    expect(files(source)).toEqual(['srv_a 5000']);
  });

  test('io_uring is counted: reads may be missing', () => {
    expect(log('7 io_uring_setup(64, {flags=0}) = 4', '7 io_uring_enter(4, 1, 1, 0, NULL, 8) = 1').skipped).toEqual({
      io_uring_setup: 1,
      io_uring_enter: 1,
    });
  });
});

describe('mappings', () => {
  const MMAP = '7 mmap(NULL, 10000, PROT_READ, MAP_PRIVATE, 3</srv/a.bin>, 0) = 0x7f0000001000';

  test('of files, at their place past a 2 MiB boundary; what lies over them cuts them', () => {
    const source = log(
      OPEN,
      MMAP,
      '7 mmap(0x7f0000002000, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = 0x7f0000002000',
      '7 madvise(0x7f0000001000, 12288, MADV_RANDOM) = 0',
      '7 mprotect(0x7f0000003000, 4096, PROT_NONE) = 0',
      '7 munmap(0x7f0000000000, 8192) = 0',
      '7 munmap(0x7f0000000000, 65536) = 0',
      MMAP,
      '7 exit_group(0) = ?',
      '7 +++ exited with 0 +++',
    );
    expect(operations(source)).toEqual([
      'open,0,1,rw',
      'mmap,0,0,0,10000,r,private,4096',
      'munmap,0,4096,4096',
      'madvise,0,0,4096,random',
      'madvise,0,8192,4096,random',
      'mprotect,0,8192,4096,r',
      'munmap,0,0,4096',
      'munmap,0,8192,4096',
      'mmap,0,0,0,10000,r,private,4096',
      'munmap,0,0,12288',
      'close,0',
    ]);
    expect(files(source)).toEqual(['srv_a.bin 10000']);
  });

  test('a child’s copies are not followed', () => {
    const source = log(
      OPEN,
      MMAP,
      '7 fork() = 8',
      '8 munmap(0x7f0000001000, 12288) = 0',
      '7 madvise(0x7f0000001000, 4096, MADV_WILLNEED) = 0',
    );
    expect(operations(source).slice(2)).toEqual(['madvise,0,0,4096,willneed']);
  });

  test('anonymous memory only when asked for', () => {
    const text =
      '7 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000200000\n7 fork() = 8\n' +
      '7 madvise(0x7f0000200000, 8192, MADV_HUGEPAGE) = 0\n';
    expect(operations(straceFrom('x', text))).toEqual([]);
    expect(operations(straceFrom('x', text, { anonymous: true }))).toEqual([
      'mmap,0,-,0,8192,rw,private',
      'fork',
      'madvise,0,0,8192,hugepage',
    ]);
  });
});

describe('what is no recording of strace', () => {
  test.each([
    ['', 'x: empty file, expected the output of strace'],
    ['\n\n\n', 'x: not one line of strace'],
    ['#quire-ops 1\nsync\n', 'x: not one line of strace'],
    ['\u0000\u0001\u0002\u0003', 'x: not one line of strace'],
    ['a'.repeat(3 << 20), 'x: not one line of strace'],
  ])('%#', (text, expected) => {
    expect(() => straceFrom('x', text)).toThrow(InputError);
    expect(() => straceFrom('x', text)).toThrow(expected);
  });

  test('odd lines among others are counted', () => {
    const source = straceFrom(
      'x',
      `garbage\n${OPEN}\n7 read(3</srv/a.bin>, "", 5\n\u0000\n${'b'.repeat(3 << 20)}\n7 sync() = 0\n`,
    );
    expect(operations(source)).toEqual(['sync']);
    expect(source.skipped).toEqual({ 'odd line': 4 });
  });
});

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { survey } from '../../src/lab/survey.ts';
import { surveyHtml } from '../../src/lab/survey_html.ts';
import { surveyText } from '../../src/lab/survey_text.ts';
import { filesystemOf, subsystemOf } from '../../src/lab/survey_tree.ts';
import { root } from '../../tools/sources.ts';

let top: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'quire-survey-'));
});
afterEach(() => {
  rmSync(top, { recursive: true, force: true });
});

function write(tree: string, files: Readonly<Record<string, string>>): string {
  for (const [path, text] of Object.entries(files)) {
    const full = join(top, tree, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
  }
  return join(top, tree);
}

const makefile = (major: number, minor: number, patch: number) =>
  `VERSION = ${major}\nPATCHLEVEL = ${minor}\nSUBLEVEL = ${patch}\n`;

/** Two made-up kernels: one of pages, and one in which a file system has moved to folios. */
const older = () =>
  write('older', {
    Makefile: makefile(5, 1, 0),
    'include/linux/mm_types.h':
      'struct page {\n int x;\n};\nstruct holder {\n struct page *its_page;\n};\nstruct else_ {\n struct thing *two_page;\n};\n',
    'include/linux/page-flags.h':
      'enum pageflags {\n PG_one,\n PG_two,\n#ifdef CONFIG_C\n PG_three,\n#endif\n PG_four = PG_two,\n __NR_PAGEFLAGS,\n};\n#define PG_buddy 0x80\n#define PG_mask (1 << PG_one)\n',
    'include/linux/fs.h':
      'struct address_space_operations {\n int (*write_it)(struct page *page);\n sector_t (*bmap)(struct inode *);\n};\n',
    'fs/leaf/inode.c':
      'static int leaf_write(struct page *page)\n{\n lock_page(page);\n return page->index + page->mapping;\n}\nconst struct address_space_operations leaf_aops = {\n .write_it = leaf_write,\n .bmap = leaf_bmap,\n};\n',
    'fs/plain.c':
      'int g(struct holder *h, struct page *page)\n{\n return h->its_page->index + h->two_page->lru + put_page(page);\n}\n',
    'mm/shmem.c':
      'struct page { int also_two; };\nstruct m {\n struct page *two_page;\n};\nint h(void)\n{\n return q->two_page->lru;\n}\n',
    'tools/not.c': 'int g(struct page *page)\n{\n return page->index;\n}\n',
    'drivers/net/other.c': 'int nothing;\n',
  });
const newer = () =>
  write('newer', {
    Makefile: makefile(5, 2, 7),
    'include/linux/mm_types.h': 'struct page {\n int x;\n};\nstruct folio {\n int x;\n};\n',
    'include/linux/page-flags.h':
      'enum pageflags {\n PG_two,\n PG_one,\n};\nenum pagetype {\n PGTY_buddy = 0xf0,\n PGTY_slab = 0xf5,\n PGTY_mapcount_underflow = 0xff\n};\n',
    'include/linux/fs.h':
      'struct address_space_operations {\n int (*write_it)(struct folio *folio);\n sector_t (*bmap)(struct inode *);\n};\n',
    'fs/leaf/inode.c':
      'static int leaf_write(struct folio *folio)\n{\n mapping_set_large_folios(folio->mapping);\n folio_lock(folio);\n return folio->index;\n}\nconst struct address_space_operations leaf_aops = {\n .write_it = leaf_write,\n .odd = x,\n};\n',
    'fs/plain.c': 'int g(struct page *page)\n{\n return page->index;\n}\n',
  });

describe('a survey of two trees', () => {
  test('figures, file by file', () => {
    const report = survey([older(), newer()], { by: 'file' });
    expect(report.trees.map(({ version, files }) => ({ version, ...files }))).toEqual([
      { version: '5.1', seen: 7, scanned: 6, unreadable: 0 },
      { version: '5.2.7', seen: 5, scanned: 5, unreadable: 0 },
    ]);
    const rows = report.rows.map(({ name, trees }) => [
      name,
      ...trees.map((f) =>
        Object.entries(f)
          .flatMap(([key, n]) => (n > 0 ? [`${key} ${n}`] : []))
          .join(', '),
      ),
    ]);
    // The definition of a type is no use of it; h->two_page may be a page: its struct does not say.
    expect(rows).toEqual([
      ['fs/plain.c', 'left 2, structPage 1, index 1, oldApi 1, unsure 1', 'left 1, structPage 1, index 1'],
      [
        'fs/leaf/inode.c',
        'left 3, structPage 1, mapping 1, index 1, oldApi 1',
        'structFolio 1, folioFields 2, folioApi 2',
      ],
      ['include/linux/fs.h', 'structPage 1', 'structFolio 1'],
      ['include/linux/mm_types.h', 'structPage 1', ''],
      ['mm/shmem.c', 'structPage 1, unsure 1', ''],
    ]);
    expect(report.trees.map((t) => [t.total.left, t.total.structPage, t.total.unsure])).toEqual([
      [5, 5, 2],
      [1, 1, 0],
    ]);
    expect(report.pageApi).toEqual([
      { name: 'lock_page', replacement: 'folio_lock', calls: [1, 0] },
      { name: 'put_page', replacement: 'folio_put', calls: [1, 0] },
    ]);
  });

  test('by subsystem and by file system', () => {
    const trees = [older(), newer()];
    const of = (by: 'subsystem' | 'filesystem') =>
      survey(trees, { by }).rows.map((r) => [r.name, ...r.trees.map((f) => f.left)]);
    expect(of('subsystem')).toEqual([
      ['fs', 5, 1],
      ['include', 0, 0],
      ['mm', 0, 0],
    ]);
    expect(of('filesystem')).toEqual([
      ['vfs', 2, 1],
      ['leaf', 3, 0],
      ['tmpfs', 0, 0],
    ]);
  });

  test('methods with their types, large folios, flags and page types', () => {
    const report = survey([older(), newer()]);
    expect(report.filesystems).toEqual([
      {
        name: 'leaf',
        trees: [
          {
            tables: [{ name: 'leaf_aops', path: 'fs/leaf/inode.c' }],
            methods: [
              { name: 'write_it', type: 'page', functions: ['leaf_write'] },
              { name: 'bmap', type: 'neither', functions: ['leaf_bmap'] },
            ],
            largeFolios: {},
          },
          {
            tables: [{ name: 'leaf_aops', path: 'fs/leaf/inode.c' }],
            methods: [
              { name: 'write_it', type: 'folio', functions: ['leaf_write'] },
              { name: 'odd', type: 'unknown', functions: ['x'] },
            ],
            largeFolios: { mapping_set_large_folios: 1 },
          },
        ],
      },
    ]);
    expect(report.methods).toEqual([
      { name: 'write_it', types: ['page', 'folio'], tables: [1, 1] },
      { name: 'bmap', types: ['neither', 'neither'], tables: [1, 0] },
    ]);
    expect(report.pageFlags).toEqual([
      { name: 'PG_two', trees: ['own', 'own'] },
      { name: 'PG_one', trees: ['own', 'own'] },
      { name: 'PG_three', trees: ['own', null] },
      { name: 'PG_four', trees: ['PG_two', null] },
    ]);
    expect(report.pageTypes).toEqual([
      { name: 'buddy', trees: [true, true] },
      { name: 'slab', trees: [false, true] },
    ]);
  });

  test('text and HTML hold the same figures; HTML asks no other host', () => {
    const report = survey([older(), newer()], { by: 'file' });
    expect(surveyText(report)).toMatch(/^ {2}left +5 +1$/m);
    expect(surveyText(report)).toMatch(/^ {2}leaf +1\/0\/1 +0\/1\/0 +mapping_set_large_folios$/m);
    const html = surveyHtml(report);
    expect(html).toContain('<tr><th scope="row">left</th><td>5</td><td>1</td></tr>');
    expect(html).not.toMatch(/https?:|src=|<script/);
    const hostile = surveyHtml({ ...report, trees: [{ ...report.trees[0], tree: '<b>"' }, report.trees[1]] });
    expect(hostile).not.toContain('<b>');
  });

  test('links and hidden folders are not entered', () => {
    const tree = older();
    const before = survey([tree]);
    symlinkSync('..', join(tree, 'fs/loop'));
    write('older', { '.git/x.c': 'int f(struct page *page)\n{\n return page->index;\n}\n' });
    expect(survey([tree])).toEqual(before);
  });
});

test('places', () => {
  const places = [
    'mm/a.c',
    'drivers/net/x/a.c',
    'drivers/a.c',
    'fs/ext4/a.c',
    'fs/a.c',
    'a.c',
    'fs/smb/client/a.c',
    'fs/cifs/a.c',
    'mm/shmem.c',
  ];
  expect(places.map((p) => [subsystemOf(p), filesystemOf(p)])).toEqual([
    ['mm', null],
    ['drivers/net', null],
    ['drivers', null],
    ['fs', 'ext4'],
    ['fs', 'vfs'],
    ['(top)', null],
    ['fs', 'smb client'],
    ['fs', 'smb client'],
    ['mm', 'tmpfs'],
  ]);
});

describe('no kernel: one line, exit 2', () => {
  const quire = (...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}bin/quire.js`, 'survey', ...args], {
      encoding: 'utf8',
    });
    return {
      status,
      stdout,
      errors: stderr.split('\n').filter((line) => line !== '' && !line.includes('npm run build')),
    };
  };
  test.each([
    ['not there', () => join(top, 'none'), /none: no such directory$/],
    ['a file', () => join(write('f', { 'x.txt': '' }), 'x.txt'), /x\.txt: not a directory$/],
    [
      'an archive',
      () => join(write('f', { 'linux.tar.xz': '' }), 'linux.tar.xz'),
      /not a directory: unpack it first \(tar xf .*linux\.tar\.xz\)$/,
    ],
    ['an empty folder', () => top, /: not a Linux source tree: Makefile is missing$/],
    [
      'another program',
      () => write('p', { Makefile: 'all:\n' }),
      /: not a Linux source tree: its Makefile names no version$/,
    ],
    [
      'half a kernel',
      () => write('h', { Makefile: makefile(6, 1, 0) }),
      /: not a Linux source tree: include\/linux\/mm_types\.h is missing$/,
    ],
  ])('%s', (_, path, line) => {
    const { status, stdout, errors } = quire(path());
    expect({ status, stdout, lines: errors.length }).toEqual({ status: 2, stdout: '', lines: 1 });
    expect(errors[0]).toMatch(/^quire: /);
    expect(errors[0]).toMatch(line);
  });

  test('a tree gives JSON and a report', () => {
    const file = join(top, 'out.html');
    const { status, stdout } = quire(older(), '--json', '--html', file, '--by', 'filesystem');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(survey([join(top, 'older')], { by: 'filesystem' }))));
  });
});

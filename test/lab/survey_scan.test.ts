import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { tokens } from '../../src/lab/survey_lex.ts';
import { FOLIO, OTHER, PAGE, scan, type TreeTypes } from '../../src/lab/survey_scan.ts';
import { pageApi } from '../../src/lab/survey_words.ts';
import { fuzz, type Op, seedOf, stepsOf } from '../help/fuzz.ts';

/** Figures that are not 0. */
function seen(source: string, types: TreeTypes = new Map()): Record<string, number> {
  return Object.fromEntries(Object.entries(scan(source, types).figures).filter(([, n]) => n > 0));
}
/** The same, of statements in a function that has a page and a folio, less those two declarations. */
function inside(body: string): Record<string, number> {
  const all = seen(`int f(struct page *page, struct folio *folio, struct page **pages)\n{\n ${body}\n}\n`);
  all.structPage -= 2;
  all.structFolio -= 1;
  return Object.fromEntries(Object.entries(all).filter(([, n]) => n !== 0));
}

describe('tokens', () => {
  test.each([
    ['a /* b */ c // d \\\n e\nf', ['a', 'c', 'f']],
    ['"page->index \\" //" x', ['""', 'x']],
    ["'\\'' y '\"' z", ['""', 'y', '""', 'z']],
    ['a->b-c 0x1fUL 1.5e3', ['a', '->', 'b', '-', 'c', '0', '0']],
    ['#define X a \\\n b\nc # d', ['\n#', 'define', 'X', 'a', 'b', '\n', 'c', '#', 'd']],
    ['{\n}\n { }', ['\n{', '\n}', '{', '}']],
    ['"not closed\nnext', ['""', 'next']],
    ['/* not closed', []],
    ['', []],
  ])('%j', (source, expected) => {
    expect(tokens(source)).toEqual(expected);
  });
});

describe('fields of pages and folios', () => {
  test.each([
    ['page->index;', { index: 1 }],
    ['page->__folio_index;', { index: 1 }],
    [
      'page->mapping->host; page->lru.next; page->private; page->flags;',
      { mapping: 1, lru: 1, private: 1, otherFields: 1 },
    ],
    [
      'pages[i + a[2]]->index; (*pages)->mapping; page[1].lru; (page + 1)->private;',
      { mapping: 1, index: 1, lru: 1, private: 1 },
    ],
    [
      '((struct page *)x)->index; ((struct folio *)x)->index;',
      { structPage: 1, structFolio: 1, index: 1, folioFields: 1 },
    ],
    ['virt_to_page(a(b))->index; page_folio(page)->index;', { index: 1, pageFolio: 1, folioFields: 1 }],
    ['folio->index; folio->page.lru;', { folioFields: 1, casts: 1, lru: 1 }],
    ['page->compound_head; compound_head(page);', { compoundHead: 2 }],
    ['list_for_each_entry(page, &l, lru) x(); list_first_entry(&l, struct page, lru);', { structPage: 1, lru: 2 }],
    ['list_for_each_entry(folio, &l, lru) x(); list_for_each_entry(other, &l, lru);', {}],
    ['/* page->index */ s = "page->index"; // page->index', {}],
    ['unknown->index; other.mapping; x->y.lru;', {}],
  ] as const)('%s', (body, expected) => {
    expect(inside(body)).toEqual(expected);
  });

  test('the innermost declaration counts, and ends with its block', () => {
    expect(inside('{ struct foo *page; page->index; } page->index;')).toEqual({ index: 1 });
    expect(inside('{ struct page *p, *q = g(page, folio), r; p->index; q->index; r.index; } p->index;')).toEqual({
      structPage: 1,
      index: 3,
    });
    expect(seen('int f(struct page *p);\nint g(int p)\n{\n p->index;\n}\n')).toEqual({ structPage: 1 });
    expect(seen('static struct page *zero;\nint g(void)\n{\n return zero->index;\n}\n')).toEqual({
      structPage: 1,
      index: 1,
    });
  });

  test('both sides of a condition are read, from the same depth', () => {
    const source = `int f(struct page *page)\n{\n#ifdef A\n if (a) {\n#else\n if (b) {\n#endif\n page->index;\n }\n page->lru;\n}\nint g(void)\n{\n page->index;\n}\n`;
    expect(seen(source)).toEqual({ structPage: 1, index: 1, lru: 1 });
  });

  test('a macro is a place of its own', () => {
    expect(seen('#define put_page(p) do { struct page *q = p; q->index; lock_page(q); } while (0)\nint x;\n')).toEqual({
      structPage: 1,
      index: 1,
      oldApi: 1,
    });
  });

  test('what an unbalanced bracket spoils ends with its function', () => {
    const source = 'int f(void)\n{\n a((( { {\n}\nint g(struct page *page)\n{\n page->index;\n}\n';
    expect(seen(source)).toEqual({ structPage: 1, index: 1 });
  });
});

describe('casts', () => {
  test.each([
    ['(struct folio *)page;', { structFolio: 1, casts: 1 }],
    ['(const struct page *)folio;', { structPage: 1, casts: 1 }],
    ['&folio->page;', { casts: 1 }],
    [
      '(struct folio *)x; (struct page *)page; (struct foo *)page; sizeof(struct page);',
      { structFolio: 1, structPage: 2 },
    ],
    ['(struct folio *)page->private;', { structFolio: 1, private: 1 }],
  ])('%s', (body, expected) => {
    expect(inside(body)).toEqual(expected);
  });
});

describe('calls', () => {
  test('page-style and folio functions, called and not declared', () => {
    expect(
      inside('lock_page(page); SetPageUptodate(page); folio_lock(folio); filemap_get_folio(m, 1); x->put_page(page);'),
    ).toEqual({
      oldApi: 2,
      folioApi: 2,
    });
    expect(seen('void lock_page(struct page *page);\nvoid lock_page(struct page *page)\n{\n}\n')).toEqual({
      structPage: 2,
    });
  });

  test('every replacement is a name', () => {
    for (const [name, by] of pageApi) expect(`${name} ${by}`).toMatch(/^\w+ \w+(->\w+)?(, \w+)?$/);
  });
});

describe('what waits for the tree', () => {
  test('members, arrays and functions are noted with their types', () => {
    const types: TreeTypes = new Map();
    scan(
      'struct a {\n struct page *one_page, *two;\n struct folio *some_folios[4];\n struct b *one_page;\n};\nstruct page *get_it(int x);\n',
      types,
    );
    expect(Object.fromEntries(types)).toEqual({
      one_page: PAGE | OTHER,
      'a.one_page': PAGE | OTHER,
      two: PAGE,
      'a.two': PAGE,
      'some_folios[]': FOLIO,
      'a.some_folios[]': FOLIO,
      'get_it()': PAGE,
    });
  });

  test('a field behind one of them names it, with its struct where that is known', () => {
    const { deferred } = scan(
      'int f(struct a *v)\n{\n v->page->index; w->page->lru; v->pages[3]->mapping; get_it(v)->private;\n}\n',
      new Map(),
    );
    expect(deferred).toEqual([
      { behind: 'page', of: 'a.page', field: 'index' },
      { behind: 'page', of: null, field: 'lru' },
      { behind: 'pages[]', of: 'a.pages[]', field: 'mapping' },
      { behind: 'get_it()', of: null, field: 'private' },
    ]);
  });
});

test('operations: designated methods, with conditions between them', () => {
  const { operations } = scan(
    'const struct address_space_operations my_aops __ro_after_init = {\n .read_folio = my_read,\n#ifdef X\n .writepages\t= my_write,\n#endif\n .bmap = NULL,\n};\nextern const struct address_space_operations other;\n',
    new Map(),
  );
  expect(operations).toEqual([
    {
      name: 'my_aops',
      methods: [
        ['read_folio', 'my_read'],
        ['writepages', 'my_write'],
        ['bmap', 'NULL'],
      ],
    },
  ]);
});

/** Statements and what each adds; `~` is where a blank, a comment or a text may stand. */
const statements: readonly (readonly [source: string, adds: Readonly<Record<string, number>>])[] = [
  ['page~->~index~=~1~;', { index: 1 }],
  ['if~(~page~->~mapping~)~{~page~->~lru~;~}', { mapping: 1, lru: 1 }],
  ['{~struct~folio~*~page~=~x~;~page~->~index~;~}', { structFolio: 1, folioFields: 1 }],
  ['{~struct~foo~*~page~,~*~folio~;~page~->~index~;~}', {}],
  ['unlock_page~(~page~)~;', { oldApi: 1 }],
  ['folio_get~(~page_folio~(~page~)~)~;', { folioApi: 1, pageFolio: 1 }],
  ['for~(~i~=~0~;~i~<~n~;~i~++~)~pages~[~i~]~->~private~=~0~;', { private: 1 }],
  ['x~=~(~struct~page~*~)~folio~;', { structPage: 1, casts: 1 }],
  ['do~{~folio~->~lru~;~}~while~(~0~)~;', { folioFields: 1 }],
];
const noise = [' ', '\n  ', '\t', ' /* page->index */ ', ' // lock_page(page); {\n ', ' /* " */ ', " /* don't { */ "];

test('random functions count as the sum of their statements', () => {
  const pick = (r: Prng): Op => [r.below(statements.length), r.below(1 << 30)];
  fuzz(seedOf(11), stepsOf(4000), pick, (ops) => {
    const expected: Record<string, number> = {};
    const add = (name: string, n: number) => {
      expected[name] = (expected[name] ?? 0) + n;
    };
    let source = '';
    ops.forEach(([which, noiseSeed], i) => {
      if (i % 16 === 0) {
        source += `${i > 0 ? '\n}\n' : ''}static int f${i}(struct page *page, struct folio *folio, struct page **pages)\n{\n `;
        add('structPage', 2);
        add('structFolio', 1);
      }
      const r = new Prng(noiseSeed as number);
      const [text, adds] = statements[which as number];
      source += text.replaceAll('~', () => noise[r.below(noise.length)]);
      for (const [name, n] of Object.entries(adds)) add(name, n);
    });
    expect(seen(`${source}\n}\n`)).toEqual(expected);
  });
});

test('any text ends, and no figure is less than 0', () => {
  const words = [
    'struct ',
    'page ',
    'folio ',
    '*',
    '(',
    ')',
    '{',
    '}',
    '[',
    ']',
    '->',
    '.',
    ',',
    ';',
    '\n',
    '#if ',
    '#else\n',
    '#endif\n',
    '#define ',
    '"',
    "'",
    '/*',
    '*/',
    '//',
    '\\',
    'list_for_each_entry',
    'lru',
    'index',
    'address_space_operations ',
    '=',
    '\0',
    'é',
    'enum ',
    'union ',
    '&',
  ];
  const r = new Prng(seedOf(12));
  for (let run = 0; run < 3000; run++) {
    let source = '';
    for (let n = r.below(120); n > 0; n--) source += words[r.below(words.length)];
    for (const n of Object.values(scan(source, new Map()).figures)) expect(n).toBeGreaterThanOrEqual(0);
  }
});

test('deep nesting is no deep recursion', () => {
  const deep = 200_000;
  expect(seen(`${'('.repeat(deep)}page${')->index'.repeat(1000)}`)).toEqual({});
  expect(seen(`${'{'.repeat(deep)}${'}'.repeat(deep)}`)).toEqual({});
  expect(seen(`x${'.page'.repeat(deep)}${'page->'.repeat(deep)}`)).toEqual({});
  expect(seen(`${'#if\n'.repeat(deep)}${'#define x '.repeat(deep)}`)).toEqual({});
});

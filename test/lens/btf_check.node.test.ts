/** The layouts beside real compilers' BTF, and beside the kernel that runs this test where it is one that the layout names. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { describe, expect, test } from 'vitest';
import { Btf } from '../../src/lens/btf.ts';
import { BTF_OF_THIS_KERNEL, checkBtf, readBtf } from '../../src/lens/btf_check.ts';
import { btfText } from '../../src/lens/btf_text.ts';
import { at, type LayoutItem, type LayoutStruct } from '../../src/mm/layout_struct.ts';
import { layoutStructs, releasedLayout } from '../../src/mm/layouts.ts';
import { root } from '../../tools/sources.ts';

const golden = (name: string): Btf => readBtf(`${root}golden/btf/${name}.btf`);
const wrong = (report: ReturnType<typeof checkBtf>) =>
  report.structs.flatMap((s) =>
    s.rows.filter((r) => r.verdict !== 'equal').map((r) => `${s.name}.${r.field} ${r.verdict}`),
  );

describe('each layout is the one that its release compiles to', () => {
  test.each([
    ['page64', '5.15'],
    ['overlay', '6.1'],
    ['overlay', '6.12'],
    ['overlay', '6.18'],
  ] as const)('%s %s', (layout, name) => {
    const report = checkBtf(golden(name), releasedLayout(layout, name).structs);
    expect(wrong(report)).toEqual([]);
    expect(report.structs.map((s) => s.more)).toEqual(report.structs.map(() => []));
    expect(report.equal).toBe(true);
  });

  test('the next release differs, and it is said where', () => {
    const report = checkBtf(golden('6.18'), layoutStructs(releasedLayout('overlay', '6.12'), 'folio'));
    expect(wrong(report)).toEqual([
      'folio._entire_mapcount different',
      'folio._nr_pages_mapped different',
      'folio._folio_nr_pages missing',
    ]);
    expect(report.equal).toBe(false);
    const text = btfText('overlay 6.12', report);
    expect(text).toContain(
      'folio._entire_mapcount: different: offset 84, 4 bytes in the layout, offset 88, 4 bytes in',
    );
    expect(text).toMatch(/\nnot equal\n$/);
  });
});

describe('what a comparison finds', () => {
  const [slab] = layoutStructs(releasedLayout('overlay'), 'slab') as [LayoutStruct];
  const changed = (body: readonly LayoutItem[], bytes = 64) => checkBtf(golden('6.18'), [{ ...slab, bytes, body }]);

  test('a size, a bit, a structure of another size, one that is not there', () => {
    expect(wrong(changed([at(8, 4, 'x', 'slab_cache')]))).toEqual(['slab.slab_cache different']);
    const bit = at(40, 4, 'x', 'objects', { bits: { from: 17, count: 15 } });
    const report = changed([bit]);
    expect(wrong(report)).toEqual(['slab.objects different']);
    expect(btfText('x', report)).toContain(
      'offset 42 bit 1, 15 bits in the layout, offset 42 bit 0, 15 bits in the kernel',
    );
    const large = changed([at(8, 8, 'x', 'slab_cache')], 72);
    expect({ rows: wrong(large), size: large.structs[0]?.verdict, equal: large.equal }).toEqual({
      ...{ rows: [], size: 'different', equal: false },
    });
    const absent = checkBtf(golden('5.15'), releasedLayout('overlay').structs);
    expect(absent.structs.find((s) => s.name === 'folio')).toMatchObject({ verdict: 'missing', kernelBytes: null });
    expect(btfText('x', absent)).toContain('struct folio: missing in the kernel');
  });

  test('a BTF without any of them is no kernel’s', () => {
    expect(() => checkBtf(golden('5.15'), [slab])).toThrow(/5\.15\.btf: describes no struct slab$/);
  });
});

const live = existsSync(BTF_OF_THIS_KERNEL);
test.runIf(live)('the running kernel’s BTF can be read', () => {
  const btf = new Btf(readFileSync(BTF_OF_THIS_KERNEL), BTF_OF_THIS_KERNEL);
  expect(btf.types).toBeGreaterThan(10_000);
  const page = btf.struct('page');
  expect(page?.bytes).toBeGreaterThanOrEqual(8);
  expect(page?.members[0]).toMatchObject({ path: 'flags', bitOffset: 0, bits: 64 });
});
test.runIf(live && release().startsWith('6.18.') && process.arch === 'x64')(
  'layout overlay is the running kernel’s',
  () => {
    expect(wrong(checkBtf(readBtf(), releasedLayout('overlay').structs))).toEqual([]);
  },
);

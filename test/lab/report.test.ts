import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Comparison, compare, type Vary } from '../../src/lab/compare.ts';
import { reportHtml } from '../../src/lab/report.ts';
import { mayWrite, writeWhole } from '../../src/lab/report_file.ts';
import { openOps } from '../../src/trace/ops.ts';
import { root } from '../../tools/sources.ts';

const script = (name: string) => () => openOps(`${root}golden/linux-6.18/scripts/${name}.ops`);
const kernels: Vary = { name: 'kernel', values: ['5.15', '6.1', '6.12', '6.18'].map((kernel) => ({ kernel })) };
const limits: Vary = { name: 'memcg', values: [0, 2 ** 24, 2 ** 22].map((memcg) => ({ memcg })) };

const VOID = ['meta', 'input', 'path', 'rect'];

/** What is wrong with a page's elements: each that is opened is closed, in order; attributes are quoted and occur once. */
function malformed(html: string): string[] {
  const wrong: string[] = [];
  const open: string[] = [];
  // What script and style hold is no HTML.
  const page = html.replace(/(<(script|style)[^>]*>)[\s\S]*?(<\/\2>)/g, '$1$3').replace(/^<!doctype html>\n/, '');
  const tags = /<(\/?)([a-z][a-z0-9]*)((?:\s+[a-zA-Z-]+(?:="[^"<>]*")?)*)\s*(\/?)>|<|>/g;
  for (const [all, closes, name = '', attributes = '', selfCloses] of page.matchAll(tags)) {
    if (name === '') wrong.push(`a bare ${all}`);
    else if (closes) {
      if (open.pop() !== name) wrong.push(`${all} closes nothing`);
    } else {
      const names = [...attributes.matchAll(/\s([a-zA-Z-]+)/g)].map((m) => m[1]);
      const bare = attributes
        .replace(/="[^"]*"/g, '')
        .trim()
        .split(/\s+/);
      if (new Set(bare).size !== bare.length) wrong.push(`${all} has an attribute twice: ${names.join(' ')}`);
      if (!selfCloses && !VOID.includes(name)) open.push(name);
    }
  }
  for (const m of page.matchAll(/&(?!(?:amp|lt|gt|quot|#39);)/g)) wrong.push(`a bare & at ${m.index}`);
  return [...wrong, ...open.map((name) => `${name} is not closed`)];
}

test('the check of the page sees what is wrong', () => {
  expect(malformed('<p>a</p>')).toEqual([]);
  expect(malformed('<p><b>a</p></b>')).toHaveLength(2);
  expect(malformed('<p>a < b & c</p>')).toEqual(['a bare <', 'a bare & at 9']);
  expect(malformed('<p a="1" a="2"></p>')).toHaveLength(1);
  expect(malformed('<div>')).toEqual(['div is not closed']);
});

let c: Comparison;
let html: string;
beforeAll(() => {
  c = compare(script('limit-mixed-xfs-1'), {}, [kernels, limits]);
  html = reportHtml(c);
});

describe('a report', () => {
  test('is well formed', () => {
    expect(malformed(html)).toEqual([]);
  });

  test('asks nothing of any other host', () => {
    expect(html).not.toMatch(/https?:|\/\/[a-z]|\ssrc=|url\(|@import|<link|<iframe|fetch\(|XMLHttp|import\(/i);
    expect(html).toContain("default-src 'none'");
    for (const [, href] of html.matchAll(/\shref="([^"]*)"/g)) expect(href).toMatch(/^#/);
  });

  test('its links lead somewhere, and its names are its own', () => {
    const ids = [...html.matchAll(/\sid="([^"]*)"/g)].map((m) => m[1]);
    expect(new Set(ids).size).toBe(ids.length);
    const targets = [...html.matchAll(/\s(?:href="#|aria-labelledby=")([^"]*)"/g)].map((m) => m[1]);
    expect(targets.length).toBeGreaterThan(20);
    for (const target of targets) expect(ids).toContain(target);
  });

  test('of twelve rows is smaller than a megabyte, and the same twice', () => {
    expect(c.rows).toHaveLength(12);
    expect(Buffer.byteLength(html)).toBeLessThan(2 ** 20);
    expect(reportHtml(c)).toBe(html);
  });

  test('every picture has words, and every section of pictures a table', () => {
    const pictures = [...html.matchAll(/<svg class="(bar|strip|plot)[^>]*>/g)];
    // Two bars, three strips, three curves and one bar of requests a row.
    expect(pictures).toHaveLength(12 * (2 + 3 + 3 + 1));
    for (const [tag] of pictures) expect(tag).toMatch(/role="img" aria-label="[^"]{10,}"/);
    for (const id of ['folios', 'files', 'memory', 'io', 'requests']) {
      const section = html.slice(html.indexOf(`<section id="${id}"`));
      expect(section.slice(0, section.indexOf('</section>')), id).toContain('<details>');
    }
  });

  test('holds the figures of every row', () => {
    for (const { figures } of c.rows) {
      expect(html).toContain(`<td>${figures?.read_pages.toLocaleString('en-US')}</td>`);
      expect(html).toContain(`<td>${figures?.deleted_pages.toLocaleString('en-US')}</td>`);
    }
  });

  test('uses no colour that it does not define', () => {
    const defined = new Set([...html.matchAll(/(--\w+):/g)].map((m) => m[1]));
    for (const [, used] of html.matchAll(/var\((--\w+)\)/g)) if (used !== '--columns') expect(defined).toContain(used);
  });

  test('its script is JavaScript, and its data what it reads', () => {
    const scripts = [...html.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];
    expect(scripts).toHaveLength(2);
    const data = JSON.parse(scripts[0]?.[2] as string);
    expect(data.rows).toHaveLength(12);
    for (const row of data.rows) expect(row.cached).toHaveLength(data.operations.length);
    expect(() => new Function(scripts[1]?.[2] as string)).not.toThrow();
  });

  test('has no numbers that are none', () => {
    expect(html).not.toMatch(/NaN|Infinity|undefined|\[object/);
  });
});

describe('of other recordings', () => {
  test.each([
    ['writes', 'write-ext4-1', []],
    ['tmpfs', 'write-tmpfs-always-1', []],
    [
      'blocks that cannot be',
      'read-xfs-1',
      [{ name: 'blockSize', values: [{ blockSize: 16384 }, { blockSize: 4096 }] }],
    ],
  ] as [string, string, Vary[]][])('%s', (_, name, vary) => {
    const page = reportHtml(compare(script(name), {}, [{ ...kernels, values: kernels.values.slice(0, 2) }, ...vary]));
    expect(malformed(page)).toEqual([]);
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
    if (vary.length > 0) expect(page).toContain('Not possible: Linux 5.15, 16\u00a0KiB blocks: ');
  });
});

describe('in a folder', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'quire-report-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test('a hostile name stays a name', () => {
    const evil = `<img src=x onerror=alert(1)>"'&amp;<script><!--`;
    const path = join(dir, `a&<b>'"\u001b.ops`);
    writeFileSync(path, `#quire-ops 1\n#file,1,${evil},1048576\nopen,0,1,r\npread,0,0,65536\n`);
    const hostile = compare(() => openOps(path), {}, [limits]);
    expect(hostile.rows[0]?.files?.[0]?.name).toBe(evil);
    const page = reportHtml(hostile);
    expect(malformed(page)).toEqual([]);
    expect(page).not.toContain('<img');
    expect(page.match(/<\/script>/g)).toHaveLength(2);
    expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;amp;&lt;script&gt;&lt;!--');
    expect(page).not.toContain('\u001b');
  });

  test('a recording of nothing has a report', () => {
    const path = join(dir, 'none.ops');
    writeFileSync(path, '#quire-ops 1\n');
    const page = reportHtml(compare(() => openOps(path), {}, []));
    expect(malformed(page)).toEqual([]);
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('a file is written whole, or nothing is', () => {
    const path = join(dir, 'whole.html');
    writeFileSync(path, 'before');
    writeWhole(path, 'after');
    expect(readFileSync(path, 'utf8')).toBe('after');
    const before = readdirSync(dir);
    expect(() => writeWhole(dir, 'x')).toThrow();
    expect(() => mayWrite(dir)).toThrow(/is there and is no file/);
    expect(() => mayWrite(join(dir, 'no', 'such.html'))).toThrow(/ENOENT/);
    expect(readdirSync(dir)).toEqual(before);
    expect(
      readdirSync(join(dir, '..')).filter((name) => name.endsWith('.part') && name.startsWith('quire-report-')),
    ).toEqual([]);
  });
});

import { describe, expect, test } from 'vitest';
import { escapeHtml, scriptJson } from '../../src/view/html.ts';
import { plot, stackedBar, stripPicture } from '../../src/view/pictures.ts';
import { luminance, rampColour } from '../../src/view/ramp.ts';
import { stripOf } from '../../src/view/strip.ts';

const rgb = (hex: string) => [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16)) as [number, number, number];

test('what is written on a colour can be read on it', () => {
  for (const dark of [false, true])
    for (const steps of [1, 2, 5, 10, 13])
      for (let step = 0; step < steps; step++) {
        const { fill, ink } = rampColour(step, steps, dark);
        const [l, i] = [luminance(rgb(fill)), ink === '#fff' ? 1 : 0];
        const contrast = (Math.max(l, i) + 0.05) / (Math.min(l, i) + 0.05);
        expect(contrast, `${fill} ${ink}`).toBeGreaterThanOrEqual(4.5);
      }
});

test('steps differ in lightness, ascending', () => {
  for (const dark of [false, true]) {
    const light = Array.from({ length: 12 }, (_, i) => luminance(rgb(rampColour(i, 12, dark).fill)));
    expect(light).toEqual(light.toSorted((a, b) => a - b));
    expect(new Set(light).size).toBe(12);
  }
});

describe('text', () => {
  test('cannot leave its place', () => {
    expect(escapeHtml(`<b a="1" b='2'>&\u0000\u001b\ud800x`)).toBe(
      '&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;\ufffd\ufffd\ufffdx',
    );
    expect(scriptJson({ a: '</script><!--' })).not.toContain('<');
    expect(JSON.parse(scriptJson({ a: '</script>' }))).toEqual({ a: '</script>' });
  });
});

describe('a stacked bar', () => {
  const part = (amount: number, label: string) => ({ amount, colour: 'o0', label, title: `${label}: ${amount}` });

  test('is as long as its part of the scale', () => {
    const svg = stackedBar([part(1, 'a'), part(3, 'b')], 8, 'words');
    expect([...svg.matchAll(/<rect x="([^"]+)" width="([^"]+)"/g)].map((m) => m.slice(1))).toEqual([
      ['0%', '12.5%'],
      ['12.5%', '37.5%'],
    ]);
  });
  test('writes nothing where there is no room, and draws nothing of nothing', () => {
    expect(stackedBar([part(1, 'a')], 100, '')).not.toContain('<text');
    expect(stackedBar([part(0, 'a')], 0, '')).not.toContain('<rect');
  });
});

test('a strip has one path a colour', () => {
  const svg = stripPicture(stripOf([[0, 0], [1, 0], [2, 1]], 4), (order) => `o${order}`, 'a & b'); // biome-ignore format: a picture
  expect([...svg.matchAll(/<path /g)]).toHaveLength(2);
  expect(svg).toContain('d="M0 0h1V8h-1zM1 0h1V8h-1z"');
  expect(svg).toContain('aria-label="a &amp; b"');
});

describe('a plot', () => {
  test('spans its box and leaves out what lies inside a level stretch', () => {
    const svg = plot([0, 1, 2, 3, 4], [{ kind: 'line', name: 'x', values: [0, 10, 10, 10, 5] }], 10, '');
    expect(svg).toContain('d="M0 100L75 0L225 0L300 50"');
  });
  test('of one moment, and of nothing, is finite', () => {
    expect(plot([0], [{ kind: 'area', name: 'x', values: [0] }], 0, '')).not.toMatch(/NaN|Infinity/);
  });
});

/**
 * Colours for orders: the ramp viridis, whose steps differ in lightness, so that they stay apart for colour-blind readers and
 * on paper. It is spread over the orders that occur; light and dark pages leave out the end that their ground is close to.
 */

/** viridis at 0, 0.1 … 1. */
const STOPS = [
  [68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
  [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37],
] as const; // biome-ignore format: a table

type Rgb = readonly [number, number, number];

function viridis(at: number): Rgb {
  const i = Math.min(Math.floor(at * 10), 9);
  const part = at * 10 - i;
  return [0, 1, 2].map((k) => Math.round(STOPS[i][k] + (STOPS[i + 1][k] - STOPS[i][k]) * part)) as unknown as Rgb;
}

/** Relative luminance, as WCAG 2 defines it. */
export function luminance([r, g, b]: Rgb): number {
  const linear = (c: number) => (c <= 10.31475 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

const hex = (rgb: Rgb): string => `#${rgb.map((c) => c.toString(16).padStart(2, '0')).join('')}`;

/** Fill and ink (black or white, whichever reads better on it) of a step of `steps`. */
export function rampColour(step: number, steps: number, dark: boolean): { fill: string; ink: string } {
  const part = steps <= 1 ? 0 : step / (steps - 1);
  const rgb = viridis(dark ? 0.3 + 0.7 * part : 0.9 * part);
  const l = luminance(rgb);
  return { fill: hex(rgb), ink: 1.05 / (l + 0.05) >= (l + 0.05) / 0.05 ? '#fff' : '#000' };
}

/** The ramp as CSS custom properties: `--NAME3` the fill and `--NAME3i` the ink of step 3. */
export const rampCss = (name: string, steps: number, dark: boolean): string =>
  Array.from({ length: steps }, (_, i) => {
    const { fill, ink } = rampColour(i, steps, dark);
    return `--${name}${i}:${fill};--${name}${i}i:${ink};`;
  }).join('');

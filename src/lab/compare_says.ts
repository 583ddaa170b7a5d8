/** What a comparison says in sentences. Every word comes from its figures; none is about time. */
import { formatBytes } from '../base/units.ts';
import type { CompareRow, Comparison } from './compare.ts';
import { formatCount, settingText } from './compare_columns.ts';
import type { Figures } from './compare_figures.ts';
import type { Settings } from './settings.ts';

/** A value as it is called in a sentence: `Linux 6.18`, `a limit of 64 MiB`. */
export function valueWords(name: keyof Settings, value: unknown): string {
  const text = settingText(name, value);
  switch (name) {
    case 'kernel':
      return `Linux ${text}`;
    case 'memcg':
      return value === 0 ? 'no limit' : `limit ${text}`;
    case 'blockSize':
      return `${text} blocks`;
    case 'pageSize':
      return `${text} pages`;
    case 'readahead':
      return value === 0 ? 'no readahead' : `readahead ${text}`;
    case 'memory':
      return `memory ${text}`;
    default:
      return text;
  }
}

/** A row as it is called in a sentence or beside a picture: `Linux 6.18, limit 64 MiB`. */
export const rowWords = (set: Settings): string =>
  (Object.keys(set) as (keyof Settings)[]).map((name) => valueWords(name, set[name])).join(', ') || 'as recorded';

/** `4.1 × fewer requests`, `12 % more requests`, `as many requests`. */
export function change(now: number, before: number, noun: string): string {
  if (now === before) return `as many ${noun}`;
  if (before === 0) return `${noun === 'bytes' ? formatBytes(now) : `${formatCount(now)} ${noun}`} instead of none`;
  if (now === 0) return `no ${noun} instead of ${noun === 'bytes' ? formatBytes(before) : formatCount(before)}`;
  const ratio = now / before;
  if (ratio >= 2) return `${times(ratio)} × as many ${noun}`;
  if (ratio <= 0.5) return `${times(1 / ratio)} × fewer ${noun}`;
  const percent = Math.abs(ratio - 1) * 100;
  const text = percent < 0.1 ? 'under 0.1' : percent < 10 ? percent.toFixed(1) : percent.toFixed(0);
  return `${text} % ${ratio > 1 ? 'more' : 'fewer'} ${noun}`;
}

const times = (ratio: number): string => (ratio >= 9.95 ? formatCount(Math.round(ratio)) : ratio.toFixed(1));

/** Values of a setting that get a sentence; of more, the ends. */
const SENTENCES_MAX = 4;

export function conclusions(c: Comparison): string[] {
  const replayed = c.rows.filter((r) => r.figures !== null);
  const out = c.vary.flatMap(({ name, values }) => (values.length < 2 ? [] : oneSetting(c, name)));
  if (replayed.length > 2) out.push(...extremes(replayed));
  const failing = replayed.filter((r) => (r.figures as Figures).out_of_memory > 0);
  if (failing.length > 0)
    out.push(
      `Out of memory: ${failing.map((r) => `${formatCount((r.figures as Figures).out_of_memory)} operations failed with ${rowWords(r.set)}`).join('; ')}.`,
    );
  return out;
}

/** The values of one setting against its first one, other settings as in the first row. */
function oneSetting(c: Comparison, name: keyof Settings): string[] {
  const first = (c.rows[0] as CompareRow).set;
  const others = c.vary.map((v) => v.name).filter((other) => other !== name);
  const rows = c.rows.filter((r) => r.figures !== null && others.every((other) => r.set[other] === first[other]));
  const [base, ...rest] = rows;
  if (base === undefined) return [];
  const where = others.length === 0 ? '' : ` (${others.map((other) => valueWords(other, first[other])).join(', ')})`;
  const shown = rest.length <= SENTENCES_MAX ? rest : [rest[0] as CompareRow, rest.at(-1) as CompareRow];
  const said: { who: string[]; what: string }[] = [];
  for (const r of shown) {
    const what = against(r.figures as Figures, base.figures as Figures);
    const last = said.at(-1);
    if (last?.what === what) last.who.push(valueWords(name, r.set[name]));
    else said.push({ who: [valueWords(name, r.set[name])], what });
  }
  return said.map(({ who, what }) =>
    capital(`${list(who)} against ${valueWords(name, base.set[name])}${where}: ${what}.`),
  );
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const list = (words: readonly string[]): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;

function against(now: Figures, before: Figures): string {
  const parts: string[] = [];
  const io = (verb: string, bytes: number, bytesBefore: number, n: number, nBefore: number): void => {
    if (bytes === bytesBefore && n === nBefore) return;
    parts.push(`${verb} ${change(bytes, bytesBefore, 'bytes')} in ${change(n, nBefore, 'requests')}`);
  };
  io('reads', now.read_bytes, before.read_bytes, now.reads, before.reads);
  io('writes', now.written_bytes, before.written_bytes, now.writes, before.writes);
  if (now.added_folios !== before.added_folios)
    parts.push(
      `caches ${change(now.added_pages, before.added_pages, 'pages')} in ${change(now.added_folios, before.added_folios, 'folios')}`,
    );
  if (now.refaulted_pages !== before.refaulted_pages)
    parts.push(`has ${change(now.refaulted_pages, before.refaulted_pages, 'refaults')}`);
  if (now.memmap_bytes !== before.memmap_bytes)
    parts.push(`has a memory map of ${formatBytes(now.memmap_bytes)} instead of ${formatBytes(before.memmap_bytes)}`);
  return parts.length === 0 ? 'the same bytes, requests, folios and refaults' : parts.join('; ');
}

/** Which settings read least and most, and in how many requests. */
function extremes(rows: readonly CompareRow[]): string[] {
  const by = (
    name: 'read_bytes' | 'reads' | 'written_bytes',
    noun: string,
    format: (n: number) => string,
  ): string[] => {
    const of = (r: CompareRow) => (r.figures as Figures)[name];
    const least = rows.reduce((a, b) => (of(b) < of(a) ? b : a));
    const most = rows.reduce((a, b) => (of(b) > of(a) ? b : a));
    if (of(least) === of(most)) return [];
    const also = (r: CompareRow) => {
      const n = rows.filter((other) => of(other) === of(r)).length - 1;
      return n === 0 ? rowWords(r.set) : `${rowWords(r.set)} and ${n} more`;
    };
    return [`${noun}: fewest ${format(of(least))} (${also(least)}), most ${format(of(most))} (${also(most)}).`];
  };
  return [
    ...by('read_bytes', 'Bytes read from the device', formatBytes),
    ...by('reads', 'Read requests', formatCount),
    ...by('written_bytes', 'Bytes written to the device', formatBytes),
  ];
}

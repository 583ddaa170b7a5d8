/**
 * A structure of a memory-map layout as text and as plain data, in the way of pahole: offset and size of each field, which
 * fields share bytes and when each is valid, what lies unused, cache lines, the size.
 */
import {
  fieldsOf,
  type Hole,
  holesOf,
  isArm,
  type LayoutBits,
  type LayoutField,
  type LayoutItem,
  type LayoutStruct,
} from '../mm/layout_struct.ts';
import type { ReleasedLayout } from '../mm/layouts.ts';

const CACHE_LINE = 64;
const WIDTH = 120;
/** Room of the columns offset and size. */
const COLUMNS = 16;

/** One object, `quire.layout/1`. */
export const layoutData = (layout: string, { release }: ReleasedLayout, structs: readonly LayoutStruct[]) => ({
  schema: 'quire.layout/1',
  layout,
  release,
  structs: structs.map((struct) => ({
    name: struct.name,
    bytes: struct.bytes,
    cacheLines: cacheLines(struct),
    doc: struct.doc,
    certainty: struct.certainty,
    source: struct.source,
    fields: fieldsOf(struct),
    holes: holesOf(struct),
  })),
});

export const layoutText = (layout: string, { release }: ReleasedLayout, structs: readonly LayoutStruct[]): string =>
  structs.map((struct) => structText(`${layout}, ${release === 'plan' ? 'a plan' : release}`, struct)).join('\n');

function structText(title: string, struct: LayoutStruct): string {
  const holes = holesOf(struct);
  const bytes = holes.reduce((sum, hole) => sum + hole.bytes, 0);
  const fields = fieldsOf(struct);
  const arms = new Set(fields.map((f) => f.arm).filter((a) => a !== '')).size;
  const lines = cacheLines(struct);
  return `${[
    `struct ${struct.name} (${title}): ${struct.doc}`,
    '  offset  size',
    ...body(struct, holes),
    `  ${struct.bytes} bytes in ${counted(lines, 'cache line')}; ${counted(fields.length, 'field')}` +
      `${arms > 0 ? ` in ${counted(arms, 'overlay')}` : ''}; ` +
      (holes.length > 0 ? `${counted(holes.length, 'hole')} of ${counted(bytes, 'byte')}` : 'no holes'),
    ...wrapped(`${certainty[struct.certainty]}: ${struct.source}`.split(' '), ' ', '  '),
  ].join('\n')}\n`;
}

const certainty = {
  shipped: 'released',
  plan: 'a published plan, in no kernel',
  estimate: 'an estimate: the plan names it without its fields',
} as const;

/** Items as they are declared, cache line by cache line, each hole before what lies behind it. */
function body(struct: LayoutStruct, holes: readonly Hole[]): string[] {
  const items = struct.body.map((item) => ({ item, first: firstByte(item), line: lineOf(firstByte(item)) }));
  const lines: string[] = [];
  const waiting = [...holes];
  let line = 0;
  const holesBefore = (offset: number): void => {
    for (let hole = waiting[0]; hole !== undefined && hole.offset < offset; hole = waiting[0]) {
      lines.push(row(`${hole.offset}`, `${hole.bytes}`, '(hole)'));
      waiting.shift();
    }
  };
  for (const { item, first, line: begun } of items.toSorted((a, b) => a.line - b.line)) {
    holesBefore(first);
    if (begun > line) lines.push(`${' '.repeat(COLUMNS)}-- cache line ${begun}, byte ${begun * CACHE_LINE} --`);
    line = begun;
    lines.push(...itemLines(struct, item, 0));
  }
  holesBefore(struct.bytes);
  return lines;
}

function itemLines(struct: LayoutStruct, item: LayoutItem, depth: number): string[] {
  const indent = '  '.repeat(depth);
  if (isArm(item))
    return [
      ...wrapped(`${item.arm}: ${item.when}`.split(' '), ' ', `${' '.repeat(COLUMNS)}${indent}`),
      ...item.body.flatMap((inner) => itemLines(struct, inner, depth + 1)),
    ];
  const { offset, bytes, bits, type, name } = item;
  const weaker = item.certainty !== undefined && item.certainty !== struct.certainty ? ` (${item.certainty})` : '';
  const [base = '', array = ''] = type.split(/(?=\[)/);
  const declared = `${base}${base.endsWith('*') ? '' : ' '}${name}${array}${bits === undefined ? '' : `:${bits.count}`};${weaker}`;
  const place = bits === undefined ? `${offset}` : `${offset}:${bits.from}`;
  return [row(place, `${bytes}`, `${indent}${declared}`), ...partLines(item, indent)];
}

/** `bit 0 locked, 1 writeback, …; 51–53 zone; 54–63 node`. */
function partLines({ parts = [] }: LayoutField, indent: string): string[] {
  if (parts.length === 0) return [];
  const said = parts.map(
    (part: LayoutBits) => `${part.from}${part.count > 1 ? `–${part.from + part.count - 1}` : ''} ${part.name}`,
  );
  const unit = parts.length === 1 && parts[0]?.count === 1 ? 'bit' : 'bits';
  return wrapped([`${unit} ${said[0]}`, ...said.slice(1)], ', ', `${' '.repeat(COLUMNS)}${indent}    `);
}

const row = (offset: string, size: string, text: string): string => `${offset.padStart(8)}${size.padStart(6)}  ${text}`;

/** Words on as many lines as they need. */
function wrapped(words: readonly string[], between: string, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const [i, word] of words.entries()) {
    const text = i < words.length - 1 ? `${word}${between}` : word;
    if (line !== '' && indent.length + line.length + text.trimEnd().length > WIDTH) {
      lines.push(`${indent}${line.trimEnd()}`);
      line = '  ';
    }
    line += text;
  }
  return [...lines, `${indent}${line}`];
}

const firstByte = (item: LayoutItem): number =>
  isArm(item) ? Math.min(...item.body.map(firstByte)) : item.offset + ((item.bits?.from ?? 0) >>> 3);
const lineOf = (offset: number): number => Math.floor(offset / CACHE_LINE);
const cacheLines = (struct: LayoutStruct): number => Math.ceil(struct.bytes / CACHE_LINE);
const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

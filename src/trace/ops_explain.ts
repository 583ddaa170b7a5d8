/** Says what is wrong with a line of an ops script that the reader refused. Slow, and only there for its words. */
import { quoted } from './bytes.ts';
import { FADVICE, MADVICE, OP, OPS, type OpName } from './event.ts';
import {
  AT_MAX,
  BYTES_MAX,
  F,
  FILES_MAX,
  type FieldKind,
  HANDLES_MAX,
  IO_MAX,
  PAGE,
  SHAPE_STRIDE,
  SHAPES,
  usage,
} from './ops_shape.ts';

/** What is wrong with `text`, and what was expected. `declared` tells whether the script has a `#file` line for a number. */
export function explainLine(text: string, declared: (file: number) => boolean): string {
  const line = text.endsWith('\r') ? text.slice(0, -1) : text;
  if (line.startsWith('#'))
    return `${quoted(line)} after the first operation, expected # lines at the head of the script`;
  const [name = '', ...fields] = line.split(',');
  if (!Object.hasOwn(OP, name)) {
    return /^[a-z_]+$/i.test(name)
      ? `no operation ${quoted(name)}, expected one of ${OPS.join(' ')}`
      : `${quoted(line)} is no operation, expected a line such as read,1,4096`;
  }
  const op = OP[name as OpName];
  const kinds = [...SHAPES.subarray(op * SHAPE_STRIDE, (op + 1) * SHAPE_STRIDE)].filter(
    (k) => k !== F.END,
  ) as FieldKind[];
  const optional = kinds.at(-1) === F.AT ? 1 : 0;
  if (fields.length > kinds.length || fields.length < kinds.length - optional) {
    return `${quoted(line)} has ${fields.length} field${fields.length === 1 ? '' : 's'} after ${name}, expected ${usage(op)}`;
  }
  for (const [i, field] of fields.entries()) {
    const wrong = explainField(kinds[i]!, field, declared);
    if (wrong !== '') return `${wrong} (${usage(op)})`;
  }
  return `${quoted(line)} goes past 8 TiB, expected offset and length of at most ${BYTES_MAX} together`;
}

function explainField(kind: FieldKind, field: string, declared: (file: number) => boolean): string {
  switch (kind) {
    case F.HANDLE:
      return explainNumber('handle', field, 0, HANDLES_MAX - 1);
    case F.HANDLE_OR_NONE:
      return field === '-' ? '' : explainNumber('handle', field, 0, HANDLES_MAX - 1);
    case F.MAPPING:
      return explainNumber('mapping', field, 0, HANDLES_MAX - 1);
    case F.FILE: {
      const wrong = explainNumber('file', field, 0, FILES_MAX - 1);
      if (wrong !== '' || declared(Number(field))) return wrong;
      return `file ${field} is not declared, expected a line #file,${field},NAME,SIZE at the head of the script`;
    }
    case F.OFFSET:
      return explainNumber('offset', field, 0, BYTES_MAX);
    case F.PAGE_OFFSET:
      return explainNumber('offset', field, 0, BYTES_MAX) || explainMultiple('offset', field);
    case F.LENGTH:
      return explainNumber('length', field, 0, BYTES_MAX);
    case F.SOME:
      return explainNumber('length', field, 1, BYTES_MAX);
    case F.IO:
      return explainNumber('length', field, 0, IO_MAX);
    case F.AT:
      return explainNumber('start', field, 0, AT_MAX) || explainMultiple('start', field);
    case F.ACCESS:
      return field === 'r' || field === 'w' ? '' : `access ${quoted(field)}, expected r or w`;
    case F.FADVICE:
      return explainWord('advice', field, FADVICE);
    case F.MADVICE:
      return explainWord('advice', field, MADVICE);
    case F.SHARING:
      return explainWord('sharing', field, ['shared', 'private']);
    case F.PROT:
      return /^[rwx]+$/.test(field) ? '' : `protection ${quoted(field)}, expected letters of r w x`;
    case F.FLAGS:
      return /^[rwctad]+$/.test(field) ? '' : `flags ${quoted(field)}, expected letters of r w c t a d`;
    case F.END:
      return '';
  }
}

function explainNumber(what: string, field: string, min: number, max: number): string {
  const range = `expected ${min} to ${max}`;
  if (/^-\d+$/.test(field)) return `${what} ${quoted(field)} is negative, ${range}`;
  if (!/^\d+$/.test(field)) return `${what} ${quoted(field)} is not a number, ${range}`;
  if (field.length > 15 || Number(field) > max) return `${what} ${quoted(field)} is too large, ${range}`;
  return Number(field) < min ? `${what} ${quoted(field)} is too small, ${range}` : '';
}

const explainMultiple = (what: string, field: string): string =>
  Number(field) % PAGE === 0 ? '' : `${what} ${quoted(field)}, expected a multiple of ${PAGE}`;

const explainWord = (what: string, field: string, words: readonly string[]): string =>
  words.includes(field) ? '' : `${what} ${quoted(field)}, expected one of ${words.join(' ')}`;

/** Any recording as an ops script. */
import {
  type Events,
  FADVICE,
  MADVICE,
  OPEN_APPEND,
  OPEN_CREATE,
  OPEN_DIRECT,
  OPEN_READ,
  OPEN_TRUNC,
  OPEN_WRITE,
  OPS,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  SHARED,
  type TraceSource,
} from './event.ts';
import { headerText } from './ops_header.ts';
import { F, SHAPE_STRIDE, SHAPES } from './ops_shape.ts';

/** The script as pieces of text, one a batch of events. `files` is read first: it must be complete when a source opens. */
export function* writeOps(source: TraceSource): Generator<string> {
  yield headerText(source.settings, source.files);
  for (let batch = source.next(); batch !== null; batch = source.next()) yield batchText(batch);
}

function batchText(e: Events): string {
  let text = '';
  for (let row = 0; row < e.count; row++) {
    const op = e.op[row]!;
    text += OPS[op]!;
    for (let k = op * SHAPE_STRIDE; SHAPES[k] !== F.END; k++) text += fieldText(e, row, SHAPES[k]!);
    text += '\n';
  }
  return text;
}

function fieldText(e: Events, row: number, kind: number): string {
  switch (kind) {
    case F.HANDLE:
    case F.MAPPING:
      return `,${e.id[row]}`;
    case F.FILE:
      return `,${e.file[row]}`;
    case F.HANDLE_OR_NONE:
      return e.file[row]! < 0 ? ',-' : `,${e.file[row]}`;
    case F.OFFSET:
    case F.PAGE_OFFSET:
      return `,${e.offset[row]}`;
    case F.LENGTH:
    case F.SOME:
    case F.IO:
      return `,${e.length[row]}`;
    case F.FLAGS:
      return `,${openText(e.arg[row]!)}`;
    case F.FADVICE:
      return `,${FADVICE[e.arg[row]!]}`;
    case F.MADVICE:
      return `,${MADVICE[e.arg[row]!]}`;
    case F.PROT:
      return `,${protText(e.arg[row]!)}`;
    case F.SHARING:
      return (e.arg[row]! & SHARED) !== 0 ? ',shared' : ',private';
    case F.ACCESS:
      return e.arg[row] === 1 ? ',w' : ',r';
    default:
      return e.at[row] === 0 ? '' : `,${e.at[row]}`;
  }
}

/** `rw`, `wct` … */
function openText(bits: number): string {
  let text = (bits & OPEN_READ) !== 0 ? 'r' : '';
  if ((bits & OPEN_WRITE) !== 0) text += 'w';
  if ((bits & OPEN_CREATE) !== 0) text += 'c';
  if ((bits & OPEN_TRUNC) !== 0) text += 't';
  if ((bits & OPEN_APPEND) !== 0) text += 'a';
  if ((bits & OPEN_DIRECT) !== 0) text += 'd';
  return text;
}

function protText(bits: number): string {
  let text = (bits & PROT_READ) !== 0 ? 'r' : '';
  if ((bits & PROT_WRITE) !== 0) text += 'w';
  if ((bits & PROT_EXEC) !== 0) text += 'x';
  return text === '' ? 'r' : text;
}

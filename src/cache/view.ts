/**
 * Bytes of the cache where they lie. A view holds a reference to each of its folios, so that reclaim, compaction and splitting
 * leave them alone until it is disposed of. It shows what is written to the file meanwhile; after a truncation it keeps the
 * old bytes. What is viewed counts against the budget as long as it is viewed.
 */
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FolioId, MappingId } from '../mm/ids.ts';
import { folioFlags, folioIndex, folioNextIndex, folioRefAdd } from '../mm/mm_types.ts';
import { PG } from '../mm/page_flags.ts';
import { folioPut } from '../mm/swap.ts';
import type { Core } from './core.ts';
import { CacheError } from './errors.ts';
import type { Inode } from './inode.ts';

/** The folios after the first one, with the place and the length of each. */
interface More {
  readonly folio: FolioId;
  readonly place: number;
  readonly length: number;
}

export class View {
  readonly length: number;
  private readonly core: Core;
  private folio: FolioId;
  private readonly place: number;
  private readonly more: readonly More[] | null;

  constructor(core: Core, folio: FolioId, place: number, length: number, more: readonly More[] | null) {
    this.core = core;
    this.folio = folio;
    this.place = place;
    this.length = length;
    this.more = more;
    if (folio !== 0) folioRefAdd(core.m.map, folio, 1);
    if (more !== null) for (const one of more) folioRefAdd(core.m.map, one.folio, 1);
  }

  /** All bytes when they lie together, which is when `pieces` has one; else a copy of them. */
  get bytes(): Uint8Array {
    this.check();
    if (this.more === null) return this.core.bytes.span(this.place, this.length);
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  /** The bytes in order, a piece where they lie together. */
  get pieces(): Uint8Array[] {
    this.check();
    const { bytes } = this.core;
    if (this.more === null) return [bytes.span(this.place, this.length)];
    let rest = this.length;
    for (const one of this.more) rest -= one.length;
    return [bytes.span(this.place, rest), ...this.more.map((one) => bytes.span(one.place, one.length))];
  }

  private check(): void {
    if (this.folio === 0 && this.length > 0) throw new CacheError('CLOSED', 'the view has been disposed of');
  }

  /** Lets the folios go; the bytes must not be looked at any more. */
  [Symbol.dispose](): void {
    const { m } = this.core;
    if (this.folio === 0) return;
    folioPut(m, this.folio);
    if (this.more !== null) for (const one of this.more) folioPut(m, one.folio);
    this.folio = 0 as FolioId;
  }
}

/** Takes [at, end) as far as it is cached; null when not all of it is. */
function take(core: Core, mapping: MappingId, at: number, length: number): View | null {
  const { m } = core;
  const page = m.config.pageSize;
  const found: More[] = [];
  for (let pos = at; pos < at + length; ) {
    const folio = filemapGetFolio(m, mapping, Math.floor(pos / page));
    if (folio === 0) return null;
    const start = folioIndex(m.map, folio) * page;
    const stop = Math.min(at + length, folioNextIndex(m.map, folio) * page);
    if (
      (folioFlags(m.map, folio) & PG.PG_uptodate) === 0 &&
      !core.fs.isPartiallyUptodate(m, folio, pos - start, stop - pos)
    )
      return null;
    found.push({ folio, place: core.bytes.offsetOf(folio) + pos - start, length: stop - pos });
    pos = stop;
  }
  const first = found[0];
  if (first === undefined) return new View(core, 0 as FolioId, 0, 0, null);
  return new View(core, first.folio, first.place, length, found.length === 1 ? null : found.slice(1));
}

/**
 * A view of bytes that are not, or not all, cached or that lie in several folios: `touch` brings them, piece by piece; what has
 * come is held while the rest comes.
 */
export function viewOf(
  inode: Inode,
  at: number,
  length: number,
  touch: (at: number, length: number) => number | Promise<number>,
): View | Promise<View> {
  const read = touch(at, length);
  if (typeof read === 'number') {
    const view = take(inode.core, inode.mapping, at, length);
    if (view !== null) return view;
  }
  return viewLater(inode, at, length, read, touch);
}

export function pastEnd({ name, size }: Inode, at: number, length: number): CacheError {
  const message = `${name}: view of ${length} bytes at ${at}, and the file has ${size}`;
  return new CacheError('PAST_END', message, { source: name, at });
}

const HOLD_BYTES = 2 ** 18;
/** Times that a page came and was gone before it could be held: after so many there is no room. */
const FRUITLESS_MAX = 64;

async function viewLater(
  inode: Inode,
  at: number,
  length: number,
  first: number | Promise<number>,
  touch: (at: number, length: number) => number | Promise<number>,
): Promise<View> {
  const { core, mapping } = inode;
  // A short read: the file has been cut meanwhile.
  if ((await first) < length) throw pastEnd(inode, at, length);
  const whole = take(core, mapping, at, length);
  if (whole !== null) return whole;
  // A part of it has gone again: hold what comes.
  const held: View[] = [];
  const page = core.m.config.pageSize;
  let most = HOLD_BYTES;
  let fruitless = 0;
  try {
    for (let pos = at; pos < at + length; ) {
      const n = Math.min(most, at + length - pos);
      const read = touch(pos, n);
      if ((typeof read === 'number' ? read : await read) < n) throw pastEnd(inode, at, length);
      const part = take(core, mapping, pos, n);
      if (part === null) {
        // Where there is little room, the end of a piece may take that of its beginning.
        most = Math.max(page, most >> 1);
        if (most === page && ++fruitless === FRUITLESS_MAX) throw core.noRoom(inode.name);
        continue;
      }
      fruitless = 0;
      held.push(part);
      pos += n;
    }
    // Nothing but a cut takes away what is held.
    return take(core, mapping, at, length) ?? (await viewLater(inode, at, length, touch(at, length), touch));
  } finally {
    for (const part of held) part[Symbol.dispose]();
  }
}

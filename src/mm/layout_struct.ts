/**
 * A structure of a memory-map layout as data: fields at byte offsets, in arms where several owners read the same bytes in
 * different ways (a union in C). An arm says when its fields are the valid ones; arms lie within arms.
 *
 * Invariants (checkLayoutStruct):
 *  L1 a field has bytes, and lies within its structure;
 *  L2 fields overlap only if they belong to different arms: never within one arm, nor with what all arms share; except for
 *     a struct page within a folio, the same bytes by another name;
 *  L3 a field has an offset that is a multiple of its alignment: its bytes up to 8, of a list its pointer's;
 *  L4 a bit-field, and each part of a field, lies within the field's bits; parts of a field do not overlap;
 *  L5 a name is used once in an arm, and the arms of one place have different names;
 *  L6 the structure's size is a multiple of 8.
 */
import { Bug } from '../base/errors.ts';

/** A released kernel has it; a published plan says it; or the plan says that it is there but not where or how large. */
export type Certainty = 'shipped' | 'plan' | 'estimate';

/** A range of bits, counted from the lowest bit of the field that holds it. */
export interface LayoutBits {
  readonly name: string;
  readonly from: number;
  readonly count: number;
}

export interface LayoutField {
  readonly name: string;
  /** The kernel's type. */
  readonly type: string;
  readonly offset: number;
  readonly bytes: number;
  /** A bit-field of C: these bits of the bytes. */
  readonly bits?: { readonly from: number; readonly count: number };
  /** What the bits of the field mean, for a word that holds several things. */
  readonly parts?: readonly LayoutBits[];
  /** Where it is less sure than its structure. */
  readonly certainty?: Certainty;
}

/** Fields that are valid together, under one condition. */
export interface LayoutArm {
  readonly arm: string;
  readonly when: string;
  readonly body: readonly LayoutItem[];
}
export type LayoutItem = LayoutField | LayoutArm;

export interface LayoutStruct {
  readonly name: string;
  readonly bytes: number;
  /** What it describes. */
  readonly doc: string;
  readonly certainty: Certainty;
  readonly source: string;
  readonly body: readonly LayoutItem[];
}

/** A field with the arm it belongs to: `cache/evictable`, or '' for what is valid whoever the owner is. */
export interface PlacedField extends LayoutField {
  readonly arm: string;
  readonly when: string;
  readonly certainty: Certainty;
}

type More = Pick<LayoutField, 'bits' | 'parts' | 'certainty'>;

/** One field. */
export const at = (offset: number, bytes: number, type: string, name: string, more: More = {}): LayoutField => ({
  name,
  type,
  offset,
  bytes,
  ...more,
});
/** One arm. */
export const arm = (name: string, when: string, ...body: readonly LayoutItem[]): LayoutArm => ({
  arm: name,
  when,
  body,
});
/** Bit-fields of C in one unit, from its lowest bit upward. */
export function bitFields(offset: number, bytes: number, widths: Readonly<Record<string, number>>): LayoutField[] {
  let from = 0;
  return Object.entries(widths).map(([name, count]) => {
    const bits = { from, count };
    from += count;
    return at(offset, bytes, 'unsigned int', name, { bits });
  });
}

export const isArm = (item: LayoutItem): item is LayoutArm => 'arm' in item;

/** All fields in the order they are declared. */
export function fieldsOf(struct: LayoutStruct): PlacedField[] {
  const all: PlacedField[] = [];
  const walk = (body: readonly LayoutItem[], path: string, when: string): void => {
    for (const item of body)
      if (isArm(item)) walk(item.body, path === '' ? item.arm : `${path}/${item.arm}`, item.when);
      else all.push({ certainty: struct.certainty, ...item, arm: path, when });
  };
  walk(struct.body, '', 'always');
  return all;
}

/** A struct page over a page of a folio. */
const isCast = (field: LayoutField): boolean => field.type === 'struct page';

/** First bit of a field, and the bit just past it. */
export const bitRange = (field: LayoutField): readonly [from: number, to: number] => {
  const from = field.offset * 8 + (field.bits?.from ?? 0);
  return [from, from + (field.bits?.count ?? field.bytes * 8)];
};

export interface Hole {
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes that no arm uses. */
export function holesOf(struct: LayoutStruct): Hole[] {
  const used = new Uint8Array(struct.bytes);
  for (const field of fieldsOf(struct)) {
    if (isCast(field)) continue;
    const [from, to] = bitRange(field);
    used.fill(1, from >>> 3, (to + 7) >>> 3);
  }
  const holes: Hole[] = [];
  for (let offset = 0; offset < struct.bytes; offset++) {
    if (used[offset] !== 0) continue;
    const next = used.indexOf(1, offset);
    const bytes = (next < 0 ? struct.bytes : next) - offset;
    holes.push({ offset, bytes });
    offset += bytes;
  }
  return holes;
}

/** Throws if the structure contradicts itself. */
export function checkLayoutStruct(struct: LayoutStruct): void {
  const bug = (rule: string, field: { readonly name: string }): never => {
    throw new Bug(`${rule}: ${struct.name}.${field.name}`);
  };
  const fields = fieldsOf(struct);
  for (const [i, field] of fields.entries()) {
    const { offset, bytes, bits, parts = [] } = field;
    if (!(bytes > 0 && offset >= 0 && offset + bytes <= struct.bytes)) bug('L1', field);
    if (offset % Math.min(bytes & -bytes, 8) !== 0) bug('L3', field);
    if (bits !== undefined && !(bits.count > 0 && bits.from + bits.count <= bytes * 8)) bug('L4', field);
    for (const [k, part] of parts.entries()) {
      if (!(part.count > 0 && part.from >= 0 && part.from + part.count <= bytes * 8)) bug('L4', field);
      if (parts.some((p, j) => j < k && p.from < part.from + part.count && part.from < p.from + p.count))
        bug('L4', field);
    }
    const [from, to] = bitRange(field);
    for (const other of fields.slice(0, i)) {
      const [otherFrom, otherTo] = bitRange(other);
      if (from < otherTo && otherFrom < to && !isCast(field) && !isCast(other) && !apart(field.arm, other.arm))
        bug('L2', field);
      if (field.name === other.name && field.arm === other.arm) bug('L5', field);
    }
  }
  checkArmNames(struct.body, bug);
  if (struct.bytes % 8 !== 0) bug('L6', struct);
}

function checkArmNames(body: readonly LayoutItem[], bug: (rule: string, field: { name: string }) => never): void {
  const names = new Set<string>();
  for (const item of body.filter(isArm)) {
    if (names.has(item.arm)) bug('L5', { name: item.arm });
    names.add(item.arm);
    checkArmNames(item.body, bug);
  }
}

/** Are the two arms different ways to read the bytes: is neither within the other? */
const apart = (a: string, b: string): boolean => !`${a}/`.startsWith(rooted(b)) && !`${b}/`.startsWith(rooted(a));
const rooted = (path: string): string => (path === '' ? '' : `${path}/`);

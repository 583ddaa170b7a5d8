/**
 * Reads BTF, the kernel's description of its own types: a header, a row of type records, a table of names. Types are numbered
 * from 1 in the order of their records (0 is void) and name each other by number, in any order and in circles, so everything
 * is bounded: a file that is damaged gives one clear error, never a wrong read.
 *
 * Only what the shape of a structure needs is read: structures, unions, their members with bit-fields, arrays, typedefs.
 * Pointers are of 8 bytes: BTF does not say, and all kernels that matter here are of 64 bits.
 * Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h (6.18).
 */
import { InputError } from '../base/errors.ts';

const MAGIC = 0xeb9f;
const HEADER_BYTES = 24;
const RECORD_BYTES = 12;
const POINTER_BYTES = 8;
/** Structures within structures, arrays of arrays, typedefs of typedefs: the kernel has fewer than ten. */
const DEPTH_MAX = 32;
/** Members of one structure with all that lie in it: task_struct has some two thousand. */
const MEMBERS_MAX = 20_000;

const INT = 1;
const PTR = 2;
const ARRAY = 3;
const STRUCT = 4;
const UNION = 5;
const ENUM = 6;
const FWD = 7;
const TYPEDEF = 8;
const VOLATILE = 9;
const CONST = 10;
const RESTRICT = 11;
const FUNC_PROTO = 13;
const FLOAT = 16;
const TYPE_TAG = 18;
const ENUM64 = 19;

/** By kind: bytes behind the record, once and for each of its vlen entries. Kind 0 is void and has no record. */
const tail: readonly (readonly [once: number, each: number])[] = [
  [0, 0],
  [4, 0], // int
  [0, 0], // pointer
  [12, 0], // array
  [0, 12], // struct
  [0, 12], // union
  [0, 8], // enum
  [0, 0], // forward
  [0, 0], // typedef
  [0, 0], // volatile
  [0, 0], // const
  [0, 0], // restrict
  [0, 0], // function
  [0, 8], // function prototype
  [4, 0], // variable
  [0, 12], // data section
  [0, 0], // float
  [4, 0], // declaration tag
  [0, 0], // type tag
  [0, 12], // enum of 64 bits
];

/** A member of a structure. What lies in nameless structures and unions counts as the outer one's. */
export interface BtfMember {
  /** `lru`, and `lru.next` for what lies in it. */
  readonly path: string;
  readonly type: string;
  /** From the start of the outermost structure. */
  readonly bitOffset: number;
  readonly bits: number;
  readonly bitField: boolean;
}

export interface BtfStruct {
  readonly name: string;
  readonly bytes: number;
  readonly members: readonly BtfMember[];
}

/** A walk through a structure. Nameless members are looked at as well, and damage can make them grow without end. */
interface Walk {
  readonly members: BtfMember[];
  looked: number;
}

export class Btf {
  /** The file's name, for messages. */
  readonly file: string;
  readonly #view: DataView;
  readonly #little: boolean;
  /** Byte offset of each type's record, by number. */
  readonly #records: readonly number[];
  readonly #strings: Uint8Array;

  constructor(data: Uint8Array, file: string) {
    this.file = file;
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (data.length < HEADER_BYTES)
      throw this.#bad(`no BTF: ${data.length} bytes, its header alone has ${HEADER_BYTES}`);
    this.#little = this.#view.getUint16(0, true) === MAGIC;
    if (!this.#little && this.#view.getUint16(0, false) !== MAGIC)
      throw this.#bad('no BTF: expected it to begin with 0xeb9f');
    if (data[2] !== 1) throw this.#bad(`BTF of version ${data[2]}: expected 1`);
    const header = this.#u32(4);
    const types = header + this.#u32(8);
    const typesEnd = types + this.#u32(12);
    const strings = header + this.#u32(16);
    const stringsEnd = strings + this.#u32(20);
    const end = Math.max(typesEnd, stringsEnd);
    if (header < HEADER_BYTES) throw this.#bad(`damaged BTF: a header of ${header} bytes`);
    if (end > data.length) throw this.#bad(`BTF cut short: ${data.length} bytes of ${end}`);
    this.#strings = data.subarray(strings, stringsEnd);
    this.#records = this.#index(types, typesEnd);
  }

  /** How many types there are. */
  get types(): number {
    return this.#records.length - 1;
  }

  /** The structure of this name with all its members in the order they are declared; null: there is none. */
  struct(name: string): BtfStruct | null {
    const wanted = new TextEncoder().encode(name);
    for (let id = 1; id < this.#records.length; id++)
      if (this.#kind(id) === STRUCT && this.#isNamed(id, wanted)) {
        const walk: Walk = { members: [], looked: 0 };
        this.#members(id, '', 0, 0, walk);
        return { name, bytes: this.#size(id), members: walk.members };
      }
    return null;
  }

  #index(from: number, end: number): number[] {
    const records = [from];
    let at = from;
    while (at < end) {
      if (at + RECORD_BYTES > end) throw this.#bad(`damaged BTF: type ${records.length} is cut off`);
      const info = this.#u32(at + 4);
      const behind = tail[(info >>> 24) & 0x1f];
      if (behind === undefined || (info & 0x1f000000) === 0)
        throw this.#bad(`type ${records.length} is of kind ${(info >>> 24) & 0x1f}, which is not known`);
      records.push(at);
      at += RECORD_BYTES + behind[0] + behind[1] * (info & 0xffff);
      if (at > end) throw this.#bad(`damaged BTF: type ${records.length - 1} is cut off`);
    }
    return records;
  }

  /** Adds the members of structure or union `id`, which lies at `base` bits. */
  #members(id: number, prefix: string, base: number, depth: number, walk: Walk): void {
    this.#bound(depth);
    const record = this.#record(id);
    const info = this.#u32(record + 4);
    for (let i = 0, at = record + RECORD_BYTES; i < (info & 0xffff); i++, at += 12) {
      if (++walk.looked > MEMBERS_MAX) throw this.#bad(`damaged BTF: a structure of over ${MEMBERS_MAX} members`);
      const name = this.#text(this.#u32(at));
      const type = this.#u32(at + 4);
      const place = this.#place(info >>> 31 !== 0, this.#u32(at + 8), type);
      const inner = this.#plain(type);
      const kind = this.#kind(inner);
      const path = prefix + name;
      const bitOffset = base + place.offset;
      if (name !== '' && prefix.length + name.length > 1000) throw this.#bad('damaged BTF: a name without end');
      if (name !== '')
        walk.members.push({
          path,
          type: this.#typeName(type, 0),
          bitOffset,
          bits: place.bits,
          bitField: place.bitField,
        });
      if (kind === STRUCT || kind === UNION)
        this.#members(inner, name === '' ? prefix : `${path}.`, bitOffset, depth + 1, walk);
    }
  }

  /**
   * Where a member lies in its structure. A structure with bit-fields says each one's width in its offset's top byte; older
   * compilers say it in an integer type of few bits.
   */
  #place(widths: boolean, word: number, type: number): { offset: number; bits: number; bitField: boolean } {
    const bits = this.#size(type) * 8;
    if (widths && word >>> 24 !== 0) return { offset: word & 0xffffff, bits: word >>> 24, bitField: true };
    const offset = widths ? word & 0xffffff : word;
    const inner = this.#plain(type);
    if (this.#kind(inner) !== INT) return { offset, bits, bitField: false };
    const encoding = this.#u32(this.#record(inner) + RECORD_BYTES);
    const width = encoding & 0xff;
    if (width === 0 || width === bits) return { offset, bits, bitField: false };
    return { offset: offset + ((encoding >>> 16) & 0xff), bits: width, bitField: true };
  }

  /** The type behind typedefs and qualifiers. */
  #plain(id: number): number {
    for (let at = id, depth = 0; ; depth++) {
      this.#bound(depth);
      const kind = this.#kind(at);
      if (kind !== TYPEDEF && kind !== VOLATILE && kind !== CONST && kind !== RESTRICT && kind !== TYPE_TAG) return at;
      at = this.#u32(this.#record(at) + 8);
    }
  }

  #size(id: number): number {
    let factor = 1;
    for (let at = id, depth = 0; ; depth++) {
      this.#bound(depth);
      at = this.#plain(at);
      const kind = this.#kind(at);
      if (kind === PTR) return factor * POINTER_BYTES;
      if (kind === ARRAY) {
        const record = this.#record(at) + RECORD_BYTES;
        factor *= this.#u32(record + 8);
        at = this.#u32(record);
      } else {
        const sized = [INT, STRUCT, UNION, ENUM, FLOAT, ENUM64].includes(kind);
        return sized ? factor * this.#u32(this.#record(at) + 8) : 0;
      }
    }
  }

  #typeName(id: number, depth: number): string {
    this.#bound(depth);
    if (id === 0) return 'void';
    const record = this.#record(id);
    const name = this.#text(this.#u32(record));
    const inner = (): string => this.#typeName(this.#u32(record + 8), depth + 1);
    switch (this.#kind(id)) {
      case PTR: {
        const to = inner();
        return to.endsWith('*') ? `${to}*` : `${to} *`;
      }
      case ARRAY: {
        const behind = record + RECORD_BYTES;
        return `${this.#typeName(this.#u32(behind), depth + 1)}[${this.#u32(behind + 8)}]`;
      }
      case STRUCT:
        return `struct ${name || '{ }'}`;
      case UNION:
        return `union ${name || '{ }'}`;
      case ENUM:
      case ENUM64:
        return `enum ${name || '{ }'}`;
      case FWD:
        return `${this.#u32(record + 4) >>> 31 === 0 ? 'struct' : 'union'} ${name}`;
      case CONST:
        return `const ${inner()}`;
      case VOLATILE:
        return `volatile ${inner()}`;
      case RESTRICT:
      case TYPE_TAG:
        return inner();
      case FUNC_PROTO:
        return 'function';
      default:
        return name;
    }
  }

  #bound(depth: number): void {
    if (depth > DEPTH_MAX) throw this.#bad('damaged BTF: types nested without end');
  }

  #kind(id: number): number {
    return id === 0 ? 0 : (this.#u32(this.#record(id) + 4) >>> 24) & 0x1f;
  }

  #record(id: number): number {
    const at = id === 0 ? undefined : this.#records[id];
    if (at === undefined) throw this.#bad(`damaged BTF: type ${id} of ${this.types}`);
    return at;
  }

  #isNamed(id: number, name: Uint8Array): boolean {
    const from = this.#u32(this.#record(id));
    const strings = this.#strings;
    for (let i = 0; i < name.length; i++) if (strings[from + i] !== name[i]) return false;
    return strings[from + name.length] === 0;
  }

  #text(from: number): string {
    const end = this.#strings.indexOf(0, from);
    if (end < 0) throw this.#bad('damaged BTF: a name outside the table of names');
    return new TextDecoder().decode(this.#strings.subarray(from, end));
  }

  #u32(at: number): number {
    return this.#view.getUint32(at, this.#little);
  }

  #bad(what: string): InputError {
    return new InputError(this.file, 0, what);
  }
}

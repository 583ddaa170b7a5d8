import { describe, expect, test } from 'vitest';
import { QuireError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { Btf } from '../../src/lens/btf.ts';
import { seedOf, stepsOf } from '../help/fuzz.ts';

/** Writes BTF by hand: types are numbered from 1 in the order of the calls. */
class Writer {
  readonly #names: number[] = [0];
  readonly #words: number[] = [];
  readonly #little: boolean;
  #types = 0;
  constructor(little = true) {
    this.#little = little;
  }
  name(text: string): number {
    if (text === '') return 0;
    const at = this.#names.length;
    this.#names.push(...new TextEncoder().encode(text), 0);
    return at;
  }
  type(kind: number, name: string, sizeOrType: number, more: readonly number[] = [], vlen = 0, flag = 0): number {
    this.#words.push(this.name(name), (flag * 2 ** 31 + kind * 2 ** 24 + vlen) >>> 0, sizeOrType, ...more);
    return ++this.#types;
  }
  int(name: string, bytes: number, bits = bytes * 8): number {
    return this.type(1, name, bytes, [bits]);
  }
  /** Members are [name, type, bit offset], with the width as a fourth when it is a bit-field. */
  struct(
    name: string,
    bytes: number,
    members: readonly (readonly [string, number, number, number?])[],
    kind = 4,
  ): number {
    const flag = members.some((m) => m[3] !== undefined) ? 1 : 0;
    const words = members.flatMap(([n, t, offset, width = 0]) => [this.name(n), t, width * 2 ** 24 + offset]);
    return this.type(kind, name, bytes, words, members.length, flag);
  }
  bytes(): Uint8Array {
    const types = this.#words.length * 4;
    const data = new Uint8Array(24 + types + this.#names.length);
    const view = new DataView(data.buffer);
    view.setUint16(0, 0xeb9f, this.#little);
    data[2] = 1;
    for (const [i, word] of [24, 0, types, types, this.#names.length].entries())
      view.setUint32(4 + i * 4, word, this.#little);
    for (const [i, word] of this.#words.entries()) view.setUint32(24 + i * 4, word, this.#little);
    data.set(this.#names, 24 + types);
    return data;
  }
}

/** A page of toy: every kind that the reader follows. */
function toy(little = true): Uint8Array {
  const w = new Writer(little);
  const ulong = w.int('long unsigned int', 8); // 1
  const uint = w.int('unsigned int', 4); // 2
  const list = 3;
  const pointer = 4;
  w.struct('list_head', 16, [
    ['next', pointer, 0],
    ['prev', pointer, 64],
  ]);
  w.type(2, '', list);
  const word = w.type(8, 'word_t', w.type(10, '', ulong)); // const, then a typedef of it
  const ids = w.type(3, '', 0, [uint, uint, 2]);
  const bits = w.struct('', 4, [
    ['inuse', uint, 0, 16],
    ['objects', uint, 16, 15],
    ['frozen', uint, 31, 1],
  ]);
  const either = w.struct(
    '',
    16,
    [
      ['lru', list, 0],
      ['', bits, 0],
      ['ids', ids, 64],
    ],
    5,
  );
  w.type(6, 'kind', 4, [0, 0, 0, 1], 2); // an enum of two, and a function of one argument, to be stepped over
  w.type(13, '', uint, [0, ulong], 1);
  w.struct('page', 32, [
    ['flags', word, 0],
    ['', either, 64],
    ['owner', pointer, 192],
  ]);
  return w.bytes();
}

describe('a hand-made BTF', () => {
  const places = (data: Uint8Array) =>
    new Btf(data, 'toy').struct('page')?.members.map((m) => `${m.path} ${m.bitOffset}+${m.bits} ${m.type}`);
  const expected = [
    'flags 0+64 word_t',
    'lru 64+128 struct list_head',
    'lru.next 64+64 struct list_head *',
    'lru.prev 128+64 struct list_head *',
    'inuse 64+16 unsigned int',
    'objects 80+15 unsigned int',
    'frozen 95+1 unsigned int',
    'ids 128+64 unsigned int[2]',
    'owner 192+64 struct list_head *',
  ];

  test('members with what lies in nameless structures, arrays, typedefs, bit-fields', () => {
    expect(places(toy())).toEqual(expected);
  });
  test('of the other byte order', () => {
    expect(places(toy(false))).toEqual(expected);
  });
  test('within a larger buffer', () => {
    const data = toy();
    const large = new Uint8Array(data.length + 14);
    large.set(data, 7);
    expect(places(large.subarray(7, 7 + data.length))).toEqual(expected);
  });
  test('bit-fields as older compilers write them: integers of few bits', () => {
    const w = new Writer();
    const few = w.type(1, 'unsigned int', 4, [3 * 2 ** 16 + 5]);
    w.struct('s', 4, [['a', few, 8]]);
    expect(new Btf(w.bytes(), 'old').struct('s')?.members[0]).toMatchObject({ bitOffset: 11, bits: 5, bitField: true });
  });
  test('a structure that is not there; a name that only begins like it', () => {
    const btf = new Btf(toy(), 'toy');
    expect(btf.struct('pag')).toBeNull();
    expect(btf.struct('pages')).toBeNull();
    expect(btf.types).toBe(12);
  });
});

describe('a damaged BTF is one line', () => {
  const read = (data: Uint8Array) => () => new Btf(data, 'x.btf').struct('page');

  test('cut anywhere', () => {
    const data = toy();
    for (let bytes = 0; bytes < data.length; bytes++)
      expect(read(data.subarray(0, bytes))).toThrow(/^x\.btf: (no BTF|BTF cut short: \d+ bytes of \d+$)/);
  });
  test('not BTF at all', () => {
    expect(read(new TextEncoder().encode('root:x:0:0:root:/root:/bin/bash\n'))).toThrow(/^x\.btf: no BTF/);
    expect(read(toy().with(2, 9))).toThrow('BTF of version 9: expected 1');
  });
  test('a structure that holds itself', () => {
    const w = new Writer();
    w.struct('page', 8, [['', 1, 0]]);
    expect(read(w.bytes())).toThrow('nested without end');
  });
  test('structures that hold each other twice, over and over', () => {
    const w = new Writer();
    for (let i = 1; i < 30; i++)
      w.struct(i === 1 ? 'page' : '', 8, [
        ['', i + 1, 0],
        ['', i + 1, 0],
      ]);
    w.struct('', 8, [['a', 31, 0]]);
    w.int('int', 4);
    expect(read(w.bytes())).toThrow(/members/);
    // Twenty deep, and no member has a name: nothing to collect, a million to look at.
    const nameless = new Writer();
    for (let i = 1; i < 20; i++)
      nameless.struct(i === 1 ? 'page' : '', 8, [
        ['', i + 1, 0],
        ['', i + 1, 0],
      ]);
    nameless.struct('', 0, []);
    expect(read(nameless.bytes())).toThrow(/members/);
  });
  test('typedefs in a circle, and a type that is not there', () => {
    const circle = new Writer();
    circle.struct('page', 8, [['a', 2, 0]]);
    circle.type(8, 'a', 3);
    circle.type(8, 'b', 2);
    expect(read(circle.bytes())).toThrow('nested without end');
    const lost = new Writer();
    lost.struct('page', 8, [['a', 99, 0]]);
    expect(read(lost.bytes())).toThrow('type 99 of 1');
  });

  test('random damage: a right answer, a wrong one, or one line; never a fault', () => {
    const seed = seedOf(20_261_121);
    const r = new Prng(seed);
    const whole = toy();
    let refused = 0;
    for (let i = 0; i < stepsOf(20_000); i++) {
      const data = whole.slice(0, r.below(20) === 0 ? r.below(whole.length) : whole.length);
      for (let k = r.between(1, 6); k > 0; k--)
        data[r.below(data.length)] = r.pick([0, 1, 4, 5, 0x7f, 0x80, 0xff, r.below(256)]);
      try {
        for (const m of read(data)()?.members ?? [])
          if (!Number.isFinite(m.bitOffset) || !Number.isFinite(m.bits))
            throw new Error(`seed ${seed} step ${i}: ${m.path}`);
      } catch (error) {
        if (!(error instanceof QuireError)) throw new Error(`seed ${seed} step ${i}: ${error}`, { cause: error });
        if (error.message.includes('\n')) throw new Error(`seed ${seed} step ${i}: more than a line`, { cause: error });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(100);
  });
});

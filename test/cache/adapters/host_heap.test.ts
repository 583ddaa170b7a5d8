/** The memory of a host that grows while names and buffers in it are asked for. */
import { expect, test } from 'vitest';
import { HostHeap } from '../../../src/cache/adapters/host_heap.ts';

const PAGE = 65536;

/** As a WebAssembly.Memory: what was its buffer before it grew is empty. */
class Memory {
  buffer = new ArrayBuffer(PAGE);
  grow(): void {
    const next = new Uint8Array(this.buffer.byteLength + PAGE);
    next.set(new Uint8Array(this.buffer));
    structuredClone(this.buffer, { transfer: [this.buffer] });
    this.buffer = next.buffer;
  }
}

const put = (memory: Memory, at: number, text: string): void => {
  new Uint8Array(memory.buffer).set(new TextEncoder().encode(`${text}\0`), at);
};

test('buffers, numbers and names after the memory has grown', () => {
  const memory = new Memory();
  const heap = new HostHeap(() => new Uint8Array(memory.buffer));
  heap.bytes(10, 3).set([1, 2, 3]);
  put(memory, 100, 'a.db-journal');
  expect(heap.text(100)).toBe('a.db-journal');
  memory.grow();
  expect([...heap.bytes(10, 3)]).toEqual([1, 2, 3]);
  expect(heap.text(100)).toBe('a.db-journal');
  heap.setInt32(PAGE + 8, -5);
  heap.setInt64(PAGE + 16, 2 ** 40 + 2 ** 31 + 3);
  const view = new DataView(memory.buffer);
  expect(view.getInt32(PAGE + 8, true)).toBe(-5);
  expect(view.getBigInt64(PAGE + 16, true)).toBe(2n ** 40n + 2n ** 31n + 3n);
});

test('a name that is another one the next time, in the same place', () => {
  const memory = new Memory();
  const heap = new HostHeap(() => new Uint8Array(memory.buffer));
  for (const name of ['a.db', 'a.db-wal', 'a', '', 'a.db', 'größe.db', 'a.db']) {
    put(memory, 64, name);
    expect(heap.text(64)).toBe(name);
  }
  for (let i = 0; i < 40; i++) {
    put(memory, 1000 + i * 20, `name ${i}`);
    expect(heap.text(1000 + i * 20)).toBe(`name ${i}`);
  }
  expect(heap.text(1000)).toBe('name 0');
});

test('text as far as there is room', () => {
  const memory = new Memory();
  const heap = new HostHeap(() => new Uint8Array(memory.buffer));
  expect(heap.setText(0, 5, 'abcd')).toBe(true);
  expect(heap.setText(16, 4, 'abcd')).toBe(false);
  expect(heap.setText(32, 0, 'abcd')).toBe(false);
  expect([heap.text(0), heap.text(16), heap.text(32)]).toEqual(['abcd', 'abc', '']);
});

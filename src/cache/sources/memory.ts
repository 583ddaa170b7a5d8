/** Bytes that are in memory already: for tests, for scratch files, and to try a cache without a disk. */
import type { Source } from '../source.ts';
import { checkSignal } from './checks.ts';
import { scatter } from './pieces.ts';

export interface MemorySource extends Source {
  /** What the source holds now; a view that a later write may leave behind when the bytes must grow. */
  bytes(): Uint8Array;
}

/**
 * @param initial what it holds at first, used in place; a number is that many zeroes.
 * @param options `name` for messages; `readOnly` leaves out whatever changes the bytes.
 */
export function memorySource(
  initial: Uint8Array | number = 0,
  options: { readonly name?: string; readonly readOnly?: boolean } = {},
): MemorySource {
  const name = options.name ?? 'memory';
  let room = typeof initial === 'number' ? new Uint8Array(initial) : initial;
  let size = room.length;

  const resize = (to: number): void => {
    if (to > room.length) {
      const larger = new Uint8Array(Math.max(to, 2 * room.length));
      larger.set(room.subarray(0, size));
      room = larger;
    } else if (to < size) room.fill(0, to, size);
    size = to;
  };
  const openSync = (): { size: number } => ({ size });
  const readSync = (into: Uint8Array, at: number): number => {
    const length = Math.max(0, Math.min(into.length, size - at));
    into.set(room.subarray(at, at + length));
    return length;
  };
  const readvSync = (pieces: readonly Uint8Array[], at: number): number => scatter(room.subarray(at, size), pieces);
  const reading: MemorySource = {
    name,
    bytes: () => room.subarray(0, size),
    openSync,
    async open(signal) {
      checkSignal(name, signal);
      return openSync();
    },
    readSync,
    async read(into, at, signal) {
      checkSignal(name, signal, at);
      return readSync(into, at);
    },
    readvSync,
    async readv(pieces, at, signal) {
      checkSignal(name, signal, at);
      return readvSync(pieces, at);
    },
    closeSync() {},
  };
  if (options.readOnly) return reading;

  const writeSync = (from: Uint8Array, at: number): void => {
    if (at + from.length > size) resize(at + from.length);
    room.set(from, at);
  };
  return {
    ...reading,
    writeSync,
    async write(from, at, signal) {
      checkSignal(name, signal, at);
      writeSync(from, at);
    },
    truncateSync: resize,
    async truncate(to, signal) {
      checkSignal(name, signal);
      resize(to);
    },
    syncSync() {},
    async sync() {},
  };
}

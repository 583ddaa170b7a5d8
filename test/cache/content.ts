/** Bytes that both sides of a test know without sending them: byte `at` of object `seed`. */

export const byteAt = (seed: number, at: number): number =>
  Math.imul(at ^ Math.imul(seed, 0x85ebca6b), 0x9e3779b1) >>> 24;

export function content(seed: number, from: number, to: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(to - from);
  for (let i = 0; i < bytes.length; i++) bytes[i] = byteAt(seed, from + i);
  return bytes;
}

/** The first place where `bytes` are not those of the object from `at` on, or -1. */
export function firstWrong(bytes: Uint8Array, seed: number, at: number): number {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== byteAt(seed, at + i)) return i;
  return -1;
}

/** The first place where two arrays differ, or -1; `toEqual` takes seconds for long ones. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.max(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return -1;
}

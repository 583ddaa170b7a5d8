/** Seeded generator of pseudo-random numbers (splitmix32): the same seed gives the same sequence on every machine. */
export class Prng {
  private state: number;
  constructor(seed: number) {
    this.state = seed | 0;
  }
  /** A 32-bit unsigned integer. */
  u32(): number {
    this.state = (this.state + 0x9e3779b9) | 0;
    let z = this.state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }
  /** In [0, 1). */
  float(): number {
    return this.u32() / 4294967296;
  }
  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor(this.float() * n);
  }
  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

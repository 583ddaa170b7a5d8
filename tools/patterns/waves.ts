/**
 * A source that answers in waves: what a reader asks for before it can go on is answered together, and logged with the number
 * of its wave. So a recording says what was asked for at the same time, whatever the machine's speed.
 */

export interface Asked {
  readonly wave: number;
  readonly at: number;
  readonly length: number;
}

/** Longer than a reader computes between two reads that do not wait for each other. */
const IDLE_MS = 50;

export class Waves {
  readonly log: Asked[] = [];
  readonly size: number;
  private readonly bytes: (at: number, length: number) => ArrayBuffer;
  private wave = 0;
  private waiting: (() => void)[] = [];

  constructor(size: number, bytes: (at: number, length: number) => ArrayBuffer) {
    this.size = size;
    this.bytes = bytes;
  }

  read(at: number, length: number): Promise<ArrayBuffer> {
    const n = Math.min(length, this.size - at);
    this.log.push({ wave: this.wave, at, length: n });
    if (this.waiting.length === 0) this.whenIdle();
    return new Promise((resolve) => this.waiting.push(() => resolve(this.bytes(at, n))));
  }

  /** The reader is idle when a while brought nothing new. */
  private whenIdle(): void {
    const seen = this.waiting.length;
    setTimeout(() => {
      if (this.waiting.length > seen) this.whenIdle();
      else this.answer();
    }, IDLE_MS);
  }

  private answer(): void {
    const { waiting } = this;
    this.waiting = [];
    this.wave++;
    for (const resolve of waiting) resolve();
  }

  csv(title: string): string {
    const lines = this.log.map(({ wave, at, length }) => `${wave},${at},${length}`);
    return `# ${title}\nsize,${this.size}\n${lines.join('\n')}\n`;
  }
}

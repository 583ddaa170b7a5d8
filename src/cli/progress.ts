/** A one-line bar on standard error, on a terminal only, and only for work that takes over a second. */
const WAIT_MS = 1000;
const REDRAW_MS = 100;
const WIDTH = 30;

export class Progress {
  private readonly what: string;
  private readonly began = performance.now();
  private drawn = 0;

  constructor(what: string) {
    this.what = what;
  }

  /** `part` of the work is done, from 0 to 1. Cheap enough for every batch. */
  update(part: number): void {
    if (!process.stderr.isTTY) return;
    const now = performance.now();
    if (now - this.began < WAIT_MS || now - this.drawn < REDRAW_MS) return;
    this.drawn = now;
    const full = Math.round(Math.min(Math.max(part, 0), 1) * WIDTH);
    const seconds = Math.round((now - this.began) / 1000);
    process.stderr.write(
      `\r\x1b[K${this.what} ${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${Math.floor(part * 100)} % ${seconds} s`,
    );
  }

  /** Takes the bar away. */
  end(): void {
    if (this.drawn > 0) process.stderr.write('\r\x1b[K');
    this.drawn = 0;
  }
}

/** Calls of a source that are given up together. Each has a signal of its own: one that many listen to draws a warning of the host. */
export class Calls {
  private readonly underWay = new Set<AbortController>();
  /** They have been given up, and so is what is called from now on. */
  over = false;

  /** Does something that is to end when they are given up. */
  async run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const own = new AbortController();
    if (this.over) own.abort();
    this.underWay.add(own);
    try {
      return await work(own.signal);
    } finally {
      this.underWay.delete(own);
    }
  }

  giveUp(): void {
    this.over = true;
    for (const call of this.underWay) call.abort();
  }
}

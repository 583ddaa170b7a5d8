/** Memory and faults over a replay of accesses, at moments that thin out as it goes on. */
import type { AccessReplay } from './access_replay.ts';

export interface AccessTimeline {
  readonly accesses: number[];
  readonly rss_bytes: number[];
  readonly faults: number[];
}

const MOMENTS_MAX = 512;

export class AccessSampler {
  readonly timeline: AccessTimeline = { accesses: [], rss_bytes: [], faults: [] };
  private readonly r: AccessReplay;
  private every = 1;
  private due = 0;

  constructor(r: AccessReplay) {
    this.r = r;
  }

  look(accesses: number): void {
    if (accesses < this.due) return;
    this.take(accesses);
    const { timeline } = this;
    if (timeline.accesses.length >= MOMENTS_MAX) {
      for (const column of Object.values(timeline) as number[][]) {
        const kept = column.filter((_, i) => i % 2 === 1);
        column.length = 0;
        column.push(...kept);
      }
      this.every *= 2;
    }
    this.due = accesses + this.every;
  }

  end(): void {
    const { accesses } = this.timeline;
    if (accesses.at(-1) !== this.r.accesses) this.take(this.r.accesses);
  }

  private take(accesses: number): void {
    const { timeline, r } = this;
    timeline.accesses.push(accesses);
    timeline.rss_bytes.push(r.rss());
    timeline.faults.push(r.faults());
  }
}

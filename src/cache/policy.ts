/**
 * What to fetch when a read of a costly source misses. Everything is measured against one number, the bytes that pass while a
 * request is on its way: `worth` = latency × bandwidth. Fetching that much more costs as much as asking once more.
 *
 *   a miss  ─┬─ goes on where a run ended, and the run's end was used ──► a window [run's end, …)
 *            │                                    as long as the run so far, at least `worth`, at most eight times that
 *            └─ anywhere else ──► what was asked for, and the aligned block around it: a sixteenth of `worth`,
 *                                 which makes a request at most 6 % dearer
 *
 * So a run wastes at most what it has used or the price of one request, and it takes requests by the logarithm of its length.
 * Windows end on boundaries of their size, and a third of memory is the largest. A run may skip up to a block: strides and column
 * chunks with small gaps are runs. A run that is eight windows long asks for the next one early, before it needs it: by then
 * that can waste an eighth of what it has used.
 *
 * What was fetched unasked and never used leaves the cache before anything that was used does (read_ahead.ts), the windows of
 * runs that go on excepted. When memory is full and most blocks leave unused, reads fetch what they ask for and no block, but for
 * one now and then that looks whether this has changed. All sizes are in pages.
 */

/** What is known of a page: not cached, on its way, cached and not read yet, read. */
export const MISSING = 0;
export const COMING = 1;
export const UNUSED = 2;
export const USED = 3;

export interface Pages {
  state(page: number): number;
}

/** Pages [start, end) were fetched one after the other, [from, end) last. */
interface Run {
  start: number;
  from: number;
  end: number;
}

/** What to fetch: [from, to). One object, used again and again. */
export interface Plan {
  from: number;
  to: number;
  /** It is the next window of a run. */
  run: boolean;
  /** When so many of its last pages are left, the next window is due (`early`); 0: not before they are read. */
  lead: number;
}

/** Runs that go on, and places where one may have begun. */
const RUNS = 8;
const BEGINNINGS = 32;
/** A block is this part of `worth`, and a window at most this part of memory and so many times `worth`. */
const BLOCK_PART = 16;
const WINDOW_PART = 3;
const WINDOW_TIMES = 8;
/** Windows after which the next one is asked for early. */
const EARLY = 8;
/** Blocks that count in the share that is used; below PAYING of them are, blocks stop; each read without one brings a try nearer. */
const MEMORY_OF_BLOCKS = 8;
const PAYING = 0.5;
const FORGET = 1 / 512;
/** The last part of a window tells whether its run goes on. */
const TAIL_PART = 4;
const TAIL_PAGES = 8;
/** Pages of it that must have been read: two small reads side by side are no run yet. */
const EVIDENCE = 2;

const powerOf2 = (n: number): number => 2 ** Math.max(0, Math.round(Math.log2(n)));
const floorPowerOf2 = (n: number): number => 2 ** Math.floor(Math.log2(n));

/** The rules for one file. */
export class ReadPolicy {
  readonly block: number;
  private readonly worth: number;
  /** The largest window. */
  readonly largest: number;
  /** Latest first. */
  private readonly runs: Run[] = [];
  private readonly beginnings: Run[] = [];
  private used = 1;
  private readonly plan: Plan = { from: 0, to: 0, run: false, lead: 0 };

  /** `worth`: bytes that pass in the time of a request, in pages; `memory`: pages that the file may have cached. */
  constructor(worth: number, memory: number) {
    this.largest = floorPowerOf2(Math.max(1, Math.min(memory / WINDOW_PART, WINDOW_TIMES * powerOf2(worth))));
    this.worth = Math.min(powerOf2(worth), this.largest);
    this.block = Math.min(powerOf2(worth / BLOCK_PART), this.largest);
  }

  /**
   * Pages [asked, end) are asked for, and `first` is the first of them that is not cached. `full`: memory is full. `sequential`: the
   * reader said that it goes on from here. `last` is the end of the file.
   */
  miss(
    asked: number,
    first: number,
    end: number,
    last: number,
    pages: Pages,
    full: boolean,
    sequential: boolean,
  ): Plan {
    const { plan } = this;
    const run = this.runBefore(first);
    if (run !== null) {
      const tail = this.tail(run, asked, pages);
      if (tail === USED) return this.window(run, end, last);
      if (tail === COMING) {
        this.around(first, end, last, pages, full);
        run.end = plan.to;
        this.beginnings.unshift(run);
        return plan;
      }
    }
    if (sequential) return this.window({ start: first, from: first, end: first }, end, last);
    this.around(first, end, last, pages, full);
    // What was cached before it in its block counts with it.
    const start = Math.floor(plan.from / this.block) * this.block;
    this.beginnings.unshift({ start, from: plan.from, end: plan.to });
    if (this.beginnings.length > BEGINNINGS) this.beginnings.pop();
    return plan;
  }

  /** A read has come to the lead of a window: the one after it, or null. */
  early(page: number, last: number): Plan | null {
    const i = this.runs.findIndex((run) => run.from <= page && page < run.end && run.end < last);
    if (i < 0) return null;
    const run = this.runs.splice(i, 1)[0] as Run;
    const plan = this.window(run, run.end, last);
    // What is left of the window that is being read is the run's as well.
    run.from = page;
    return plan;
  }

  /** A block has left the cache: was any of it used but what was asked for? */
  left(wasUsed: boolean): void {
    this.used += ((wasUsed ? 1 : 0) - this.used) / MEMORY_OF_BLOCKS;
  }

  /** Is some of this the window of a run that goes on? Of those, as many count as fit into half of `memory`. */
  keeps(from: number, to: number, memory: number): boolean {
    let sum = 0;
    for (const run of this.runs) {
      sum += run.end - run.from;
      if (sum > memory / 2) return false;
      if (from < run.end && run.from < to) return true;
    }
    return false;
  }

  /** Takes out the run that ended where a miss at `first` goes on. */
  private runBefore(first: number): Run | null {
    for (const list of [this.runs, this.beginnings])
      for (let i = 0; i < list.length; i++) {
        const run = list[i] as Run;
        if (first < run.end || first - run.end >= this.block) continue;
        list.splice(i, 1);
        return run;
      }
    return null;
  }

  /**
   * Does the run go on? USED: several pages of its end were read. UNUSED: its end was not, and it does not. COMING: too early to say.
   */
  private tail(run: Run, asked: number, pages: Pages): number {
    const n = Math.max(TAIL_PAGES, Math.floor((run.end - run.from) / TAIL_PART));
    let used = 0;
    let coming = false;
    for (let page = run.end - 1; page >= Math.max(run.start, run.end - n); page--) {
      const state = page >= asked ? USED : pages.state(page);
      if (state === USED && ++used === EVIDENCE) return USED;
      if (state === COMING) coming = true;
    }
    return used > 0 || coming ? COMING : UNUSED;
  }

  private window(run: Run, end: number, last: number): Plan {
    const { plan } = this;
    const size = Math.min(Math.max(this.worth, run.end - run.start), this.largest);
    const from = run.end;
    const boundary = floorPowerOf2(size);
    const to = Math.floor((from + size) / boundary) * boundary;
    plan.lead = run.end - run.start >= EARLY * size ? Math.min(this.worth, size) : 0;
    plan.from = from;
    plan.to = Math.min(Math.max(to > from ? to : from + size, end), last);
    plan.run = true;
    run.from = from;
    run.end = plan.to;
    this.runs.unshift(run);
    if (this.runs.length > RUNS) this.runs.pop();
    return plan;
  }

  private around(first: number, end: number, last: number, pages: Pages, full: boolean): void {
    const { plan, block } = this;
    plan.from = first;
    plan.to = end;
    plan.run = false;
    plan.lead = 0;
    if (end - first >= block) return;
    if (full && this.used < PAYING) {
      this.used += FORGET;
      return;
    }
    const start = Math.floor(first / block) * block;
    while (plan.from > start && pages.state(plan.from - 1) === MISSING) plan.from--;
    const stop = Math.min(last, start + block);
    while (plan.to < stop && pages.state(plan.to) === MISSING) plan.to++;
  }
}

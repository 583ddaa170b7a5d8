/**
 * A replay over time: a picture of the machine at a few hundred moments. Time is counted in operations of the recording, so
 * moments of different settings stand beside each other, whatever the device.
 *
 * How long a recording is shows at its end. So the first moments lie one operation apart, and whenever the table is full,
 * every second one goes and the distance doubles: between 150 and 300 are left, evenly spaced, and the last.
 */
import { LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, NR_LRU_LISTS } from '../mm/mm_inline.ts';
import { V } from '../mm/vmstat.ts';
import type { Replay, Sampler } from './replay.ts';

const POINTS_MAX = 300;

/** Columns of equal length. Memory in pages, the device's and the program's figures since the beginning. */
export const timelineColumns = {
  operations: 'operations done',
  cached_pages: 'pages in the page cache',
  inactive_pages: 'of the pages on the LRU lists: inactive',
  active_pages: 'of the pages on the LRU lists: active',
  dirty_pages: 'pages to be written back',
  free_pages: 'free pages of the machine',
  group_pages: 'pages charged to the group; 0 without a limit',
  read_bytes: 'bytes read from the device so far',
  reads: 'read requests so far',
  written_bytes: 'bytes written to the device so far',
  writes: 'write requests so far',
  program_read_bytes: 'bytes that the program has read so far',
} as const;
export type TimelineColumn = keyof typeof timelineColumns;
export type Timeline = Readonly<Record<TimelineColumn, number[]>>;

const names = Object.keys(timelineColumns) as TimelineColumn[];

export class TimelineSampler implements Sampler {
  readonly timeline: Timeline = Object.fromEntries(names.map((name) => [name, [] as number[]])) as unknown as Timeline;
  due = 0;
  private step = 1;
  private readonly looked: (operations: number) => void;

  /** `looked` hears of every look: what a progress bar wants. */
  constructor(looked: (operations: number) => void = () => {}) {
    this.looked = looked;
  }

  take(r: Replay): void {
    this.add(r);
    this.looked(r.ops);
    if (this.timeline.operations.length === POINTS_MAX) {
      for (const name of names) thin(this.timeline[name]);
      this.step *= 2;
    }
    this.due = Math.floor(r.ops / this.step) * this.step + this.step;
  }

  /** The last moment, wherever it falls. */
  end(r: Replay): void {
    const { operations } = this.timeline;
    if (operations.at(-1) === r.ops) for (const name of names) this.timeline[name].pop();
    this.add(r);
  }

  private add(r: Replay): void {
    const { m, device } = r;
    const t = this.timeline;
    const group = m.currentMemcg;
    t.operations.push(r.ops);
    t.cached_pages.push(m.vmstat[V.nr_file_pages] as number);
    t.inactive_pages.push(listPages(r, LRU_INACTIVE_FILE));
    t.active_pages.push(listPages(r, LRU_ACTIVE_FILE));
    t.dirty_pages.push(m.vmstat[V.nr_dirty] as number);
    t.free_pages.push(m.vmstat[V.nr_free_pages] as number);
    t.group_pages.push(group === 0 ? 0 : (m.memcgs.usage[group] as number));
    t.read_bytes.push(device.readBytes);
    t.reads.push(device.reads);
    t.written_bytes.push(device.writtenBytes);
    t.writes.push(device.writes);
    t.program_read_bytes.push(r.readBytes);
  }
}

/** Pages on a file list and, on tmpfs, on the anonymous list that stands for it. */
function listPages(r: Replay, lru: number): number {
  const { pages } = r.m.lruvecs;
  let n = 0;
  for (let g = 0; g < r.m.memcgs.nr; g++)
    n += (pages[g * NR_LRU_LISTS + lru] as number) + (pages[g * NR_LRU_LISTS + lru - LRU_INACTIVE_FILE] as number);
  return n;
}

/** Keeps every second value, the first among them. */
function thin(values: number[]): void {
  const kept = Math.ceil(values.length / 2);
  for (let i = 1; i < kept; i++) values[i] = values[2 * i] as number;
  values.length = kept;
}

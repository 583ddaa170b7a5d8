/**
 * The page way beside the folio way, counted: looks for the head by operation, found by running each operation; by workload, the
 * sum over what happened in a replay; and the time of an operation on two layouts.
 *
 * A workload is counted as 5.15 would meet it: every page is a page of its own, and goes through the functions that its event
 * calls for, in their cheapest case (a first access; one write after another). The folio way looks once for each folio an event
 * meets, as if each were found by a page; code that has the folio from the cache does not look at all, so this is its upper bound.
 */
import { filemapGetFolio } from '../mm/filemap.ts';
import type { FolioId, Pfn } from '../mm/ids.ts';
import type { LayoutName } from '../mm/memmap.ts';
import { folioIndex, folioPfn } from '../mm/mm_types.ts';
import {
  compoundHead,
  compoundHeadCalls,
  FN,
  LeavingFieldError,
  type PageCompat,
  pageCompat,
  pageFolioCounted,
  pageFunctionNames,
} from '../mm/page_flags_page.ts';
import { benchInit, cachedFolio, type Operation, operations, runFolioWay, runPageWay } from '../mm/page_operations.ts';
import type { TraceSource } from '../trace/event.ts';
import { Replay } from './replay.ts';
import type { Settings } from './settings.ts';

/** Order of the large folios that operations are tried on. */
export const LARGE_ORDER = 4;

/** Calls of compound_head in the page way, of page_folio in the folio way, for one page and for a large folio. */
export interface OperationCalls {
  readonly operation: string;
  readonly folioName: string;
  readonly page: number;
  readonly pageLarge: number;
  readonly folio: number;
  readonly folioLarge: number;
  /** The page way with a large folio: who makes the calls. */
  readonly by: Readonly<Record<string, number>>;
}

const sum = (calls: Float64Array): number => calls.reduce((n, x) => n + x, 0);

export const operationCalls = (layout: LayoutName): OperationCalls[] =>
  operations.map((o) => {
    const large = runPageWay(benchInit(layout), o, LARGE_ORDER);
    const by = pageFunctionNames.map((name, i) => [name, large[i] as number] as const).filter(([, n]) => n > 0);
    return {
      operation: o.name,
      folioName: o.folioName,
      page: sum(runPageWay(benchInit(layout), o, 0)),
      pageLarge: sum(large),
      folio: runFolioWay(benchInit(layout), o, 0),
      folioLarge: runFolioWay(benchInit(layout), o, LARGE_ORDER),
      by: Object.fromEntries(by),
    };
  });

/** What an operation of the page way meets first where folios are separate. */
export interface Leaving {
  readonly operation: string;
  /** Null: it uses nothing that has left. */
  readonly field: string | null;
  readonly caller: string | null;
  readonly replacement: string | null;
  readonly message: string | null;
}
export const leavingUses = (layout: LayoutName): Leaving[] =>
  operations.map((o) => {
    try {
      runPageWay(benchInit(layout, true), o, 0);
    } catch (error) {
      if (!(error instanceof LeavingFieldError)) throw error;
      const { field, caller, replacement, message } = error;
      return { operation: o.name, field, caller, replacement, message };
    }
    return { operation: o.name, field: null, caller: null, replacement: null, message: null };
  });

/** Functions that a page goes through, by what happens to it. */
export const paths = {
  added: ['add_to_page_cache_lru', 'SetPageUptodate', 'unlock_page', 'put_page'],
  read: ['find_get_page', 'PageReadahead', 'PageUptodate', 'mark_page_accessed, first', 'put_page'],
  written: [
    ...['trylock_page', 'set_page_dirty', 'unlock_page'],
    ...['trylock_page', 'set_page_writeback', 'unlock_page', 'end_page_writeback'],
  ],
  removed: ['trylock_page', 'delete_from_page_cache', 'unlock_page', 'put_page'],
} as const;
export type PageEvent = keyof typeof paths;

export interface WorkloadRow {
  readonly event: PageEvent;
  /** Pages and folios that the replay met, each as often as it did. */
  readonly pages: number;
  readonly folios: number;
  /** Calls of compound_head for a page. */
  readonly callsOfPage: number;
  readonly pageCalls: number;
  readonly folioCalls: number;
}

/** A replay whose events are seen page by page. */
export interface PageEvents {
  readonly replay: Replay;
  /** Pages and folios that it has met, by event. */
  readonly counted: Readonly<Record<PageEvent, { pages: number; folios: number }>>;
}

/** Tells `on` of each event's folio and those of its pages that it is about: `pages` from `pfn` on. */
export function pageEvents(
  source: TraceSource,
  set: Settings,
  on?: (event: PageEvent, pfn: number, pages: number) => void,
): PageEvents {
  const replay = new Replay(source, set);
  const { m, fs, device } = replay;
  const counted: Record<PageEvent, { pages: number; folios: number }> = {
    ...{ added: { pages: 0, folios: 0 }, read: { pages: 0, folios: 0 } },
    ...{ written: { pages: 0, folios: 0 }, removed: { pages: 0, folios: 0 } },
  };
  const { pageSize } = m.config;
  const met = (event: PageEvent, folio: FolioId, from: number, pages: number): void => {
    counted[event].pages += pages;
    counted[event].folios++;
    on?.(event, folioPfn(m.map, folio) + from, pages);
  };
  m.tracer = {
    addToPageCache: (_mapping, _index, order, folio) => met('added', folio, 0, 1 << order),
    deleteFromPageCache: (_mapping, _index, order, folio) => met('removed', folio, 0, 1 << order),
  };
  m.bytes = {
    copyToReader: (folio, offset, length) => {
      const first = Math.floor(offset / pageSize);
      met('read', folio, first, Math.floor((offset + length - 1) / pageSize) - first + 1);
    },
    copyFolio: () => {},
  };
  // A folio counts when its file system writes it; its pages only as far as they go to the device.
  const writeFolio = fs.writeFolio.bind(fs);
  const write = device.write.bind(device);
  Object.assign(fs, {
    writeFolio: (...args: Parameters<typeof writeFolio>) => {
      counted.written.folios++;
      writeFolio(...args);
    },
  });
  Object.assign(device, {
    write: (...args: Parameters<typeof write>) => {
      const [mapping, offset, length] = args;
      const end = Math.floor((offset + length - 1) / pageSize) + 1;
      for (let i = Math.floor(offset / pageSize); i < end; i++) {
        counted.written.pages++;
        const folio = on === undefined ? 0 : filemapGetFolio(m, mapping, i);
        if (folio !== 0)
          on?.('written', folioPfn(m.map, folio as FolioId) + i - folioIndex(m.map, folio as FolioId), 1);
      }
      write(...args);
    },
  });
  return { replay, counted };
}

/** Calls of compound_head that a page's functions make, by event. */
export function callsOfEvents(): Readonly<Record<PageEvent, number>> {
  const calls = new Map(operationCalls('page64').map((row) => [row.operation, row.page]));
  const of = (event: PageEvent): number => paths[event].reduce((n, name) => n + (calls.get(name) as number), 0);
  return { added: of('added'), read: of('read'), written: of('written'), removed: of('removed') };
}

/** Replays a recording and counts. */
export function workloadCalls(source: TraceSource, set: Settings): WorkloadRow[] {
  const { replay, counted } = pageEvents(source, set);
  replay.run();
  const calls = callsOfEvents();
  return (Object.keys(paths) as PageEvent[]).map((event) => {
    const { pages, folios } = counted[event];
    return {
      event,
      pages,
      folios,
      callsOfPage: calls[event],
      pageCalls: pages * calls[event],
      folioCalls: folios,
    };
  });
}

/**
 * A replay in which every page asks for its head as often as the page functions of its events do, beside all that the replay
 * does anyway: what the hidden calls cost a workload. Returns the replay, not yet run, and the calls that it makes.
 */
export function pageStyleReplay(source: TraceSource, set: Settings): { replay: Replay; calls(): number } {
  const calls = callsOfEvents();
  let c: PageCompat | null = null;
  const { replay } = pageEvents(source, set, (event, pfn, pages) => {
    c ??= pageCompat(replay.m);
    const n = calls[event];
    for (let page = pfn; page < pfn + pages; page++)
      for (let i = 0; i < n; i++) compoundHead(c, FN.get_page, page as Pfn);
  });
  return { replay, calls: () => (c === null ? 0 : compoundHeadCalls(c)) };
}

/** ns of an operation, with what makes it ready to run again: the median of several loops on this machine. */
export interface OperationTime {
  readonly operation: string;
  readonly page64: { readonly page: number; readonly folio: number };
  readonly overlay: { readonly page: number; readonly folio: number };
}
const RUNS = 20_000;
const LOOPS = 25;

export const operationTimes = (): OperationTime[] =>
  operations
    .filter((o) => o.repeats)
    .map((o) => ({ operation: o.name, page64: timesOn('page64', o), overlay: timesOn('overlay', o) }));

function timesOn(layout: LayoutName, o: Operation): { page: number; folio: number } {
  const b = benchInit(layout);
  const f = cachedFolio(b, 0);
  const pfn = folioPfn(b.c.m.map, f);
  const ready = o.ready ?? ((_b: unknown, _f: FolioId): void => {});
  const loop = (run: () => void): number => {
    const began = performance.now();
    for (let i = 0; i < RUNS; i++) {
      ready(b, f);
      run();
    }
    return ((performance.now() - began) * 1e6) / RUNS;
  };
  const page: number[] = [];
  const folio: number[] = [];
  for (let i = 0; i < LOOPS; i++) {
    page.push(loop(() => o.page(b, pfn)));
    folio.push(loop(() => o.folio(b, pageFolioCounted(b.c, pfn))));
  }
  return { page: median(page), folio: median(folio) };
}
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

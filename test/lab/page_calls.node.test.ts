/** The workload's events are those of a plain replay, whatever the layout. */
import { expect, test } from 'vitest';
import { operationCalls, pageStyleReplay, paths, workloadCalls } from '../../src/lab/page_calls.ts';
import { Replay } from '../../src/lab/replay.ts';
import { layoutNames } from '../../src/mm/layouts.ts';
import { detect, openTrace } from '../../src/trace/detect.ts';
import { root } from '../../tools/sources.ts';

const path = `${root}examples/git.ops`;
const trace = () => openTrace(path, detect(path));

test.each(layoutNames)('%s: as many pages added and removed as in a replay, and calls for each', (memmap) => {
  const plain = new Replay(trace(), { memmap, memcg: 2 ** 24 });
  plain.run();
  const rows = workloadCalls(trace(), { memmap, memcg: 2 ** 24 });
  const of = (event: string) => rows.find((row) => row.event === event);
  expect(plain.deletedPages).toBeGreaterThan(0);
  expect(of('added')).toMatchObject({ pages: plain.addedPages, folios: plain.addedFolios });
  expect(of('removed')?.pages).toBe(plain.deletedPages);
  expect(of('read')?.pages).toBeGreaterThanOrEqual(plain.readBytes / plain.settings.pageSize);
  expect(of('written')?.pages).toBeGreaterThanOrEqual(plain.device.writtenBytes / plain.settings.pageSize);
  expect(of('written')?.pages).toBeGreaterThan(0);
  for (const row of rows) {
    expect(row.pages).toBeGreaterThanOrEqual(row.folios);
    expect(row.pageCalls).toBe(row.pages * row.callsOfPage);
    expect(row.folioCalls).toBe(row.folios);
  }
});

test('a replay in the page way makes as many calls as were counted, and does nothing else', () => {
  const set = { memmap: 'page64', memcg: 2 ** 24 } as const;
  const plain = new Replay(trace(), set);
  plain.run();
  const { replay, calls } = pageStyleReplay(trace(), set);
  replay.run();
  expect(calls()).toBe(workloadCalls(trace(), set).reduce((n, row) => n + row.pageCalls, 0));
  expect(replay.m.vmstat).toEqual(plain.m.vmstat);
});

test('paths are made of operations, and the layouts agree on every count', () => {
  const page64 = operationCalls('page64');
  for (const name of Object.values(paths).flat()) expect(page64.map((o) => o.operation)).toContain(name);
  for (const layout of layoutNames) expect(operationCalls(layout)).toEqual(page64);
});

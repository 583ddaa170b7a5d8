/**
 * What reading over HTTP ranges costs: nine access patterns (http_patterns.ts), each through every cache (http_peers.ts) and ours,
 * with 32 MiB. Requests and bytes are counted; the cost is requests × latency + bytes / bandwidth. Then some of it again over real
 * HTTP, where the same must be counted.
 *
 *     npm run bench -- http
 */
import { appendFileSync } from 'node:fs';
import { PageCache, type Source } from '../src/cache/index.ts';
import { httpSource } from '../src/cache/sources/index.ts';
import { type Pattern, patterns } from './http_patterns.ts';
import { BUDGET, type Peer, type PeerKind, peers } from './http_peers.ts';
import { RangeServer } from './http_server.ts';
import { Counted, check } from './http_store.ts';

interface Counts {
  readonly requests: number;
  readonly bytes: number;
}
interface Setting {
  readonly name: string;
  readonly latencyMs: number;
  readonly bytesPerSecond: number;
}
const settings: readonly Setting[] = [
  { name: 'far (20 ms, 100 MB/s)', latencyMs: 20, bytesPerSecond: 100e6 },
  { name: 'near (1 ms, 1 GB/s)', latencyMs: 1, bytesPerSecond: 1e9 },
];

const costMs = ({ requests, bytes }: Counts, s: Setting): number =>
  requests * s.latencyMs + (bytes / s.bytesPerSecond) * 1000;

/** What it costs who knows all reads before and forgets nothing: each byte once, joined wherever that is cheaper. No cache can do with less. */
function leastMs(pattern: Pattern, s: Setting): number {
  const read = [...pattern.waves.flat()].sort((a, b) => a.at - b.at);
  let bytes = 0;
  let end = 0;
  for (const { at, length } of read) {
    bytes += Math.max(0, at + length - Math.max(at, end));
    end = Math.max(end, at + length);
  }
  const worth = (s.latencyMs / 1000) * s.bytesPerSecond;
  let requests = 0;
  end = Number.NEGATIVE_INFINITY;
  for (const { at, length } of read) {
    if (at - end > worth) requests++;
    else bytes += Math.max(0, at - end);
    end = Math.max(end, at + length);
  }
  return costMs({ requests, bytes }, s);
}

async function replay(pattern: Pattern, peer: Peer): Promise<void> {
  const read = async (at: number, length: number): Promise<void> => {
    const bytes = await peer.read(at, length);
    if (bytes !== undefined) check(bytes, at, length);
  };
  for (const wave of pattern.waves)
    if (peer.serial) for (const r of wave) await read(r.at, r.length);
    else await Promise.all(wave.map((r) => read(r.at, r.length)));
}

async function ours(pattern: Pattern, source: Source): Promise<void> {
  const cache = new PageCache({ memory: BUDGET });
  const file = await cache.open(source);
  await replay(pattern, {
    async read(at, length) {
      const into = new Uint8Array(length);
      const n = file.read(into, at);
      return into.subarray(0, typeof n === 'number' ? n : await n);
    },
  });
  await cache.close();
}

async function peerCounts(pattern: Pattern, kind: PeerKind): Promise<Counts> {
  const store = new Counted(pattern.size, kind.is === 'library');
  await replay(pattern, await kind.open(store));
  return { requests: store.requests, bytes: store.bytes };
}

async function ourCounts(pattern: Pattern, s: Setting): Promise<Counts> {
  const store = new Counted(pattern.size, true);
  await ours(pattern, store.source(s));
  return { requests: store.requests, bytes: store.bytes };
}

const cell = ({ requests, bytes }: Counts): string => `${requests} / ${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)}`;
const print = (first: string, cells: readonly string[]): void => console.log(`| ${[first, ...cells].join(' | ')} |`);
const head = (first: string, names: readonly string[]): void => {
  print(first, names);
  print(
    '---',
    names.map(() => '---'),
  );
};

const all = patterns();
const names = all.map((p) => p.name);
head('requests / MB', names);
const others: { readonly name: string; readonly counts: readonly Counts[] }[] = [];
for (const kind of peers) {
  const counts: Counts[] = [];
  for (const pattern of all) counts.push(await peerCounts(pattern, kind));
  others.push({ name: kind.name, counts });
  print(kind.name, counts.map(cell));
}
const mine: Counts[][] = [];
for (const s of settings) {
  const counts: Counts[] = [];
  for (const pattern of all) counts.push(await ourCounts(pattern, s));
  mine.push(counts);
  print(`PageCache, ${s.name}`, counts.map(cell));
}
console.log();
head('cost in ms', names);
const verdicts: string[] = [];
settings.forEach((s, k) => {
  const best = all.map((_, i) =>
    others
      .map(({ name, counts }) => ({ name, ms: costMs(counts[i] as Counts, s) }))
      .reduce((a, b) => (b.ms < a.ms ? b : a)),
  );
  const ms = (mine[k] as Counts[]).map((c) => costMs(c, s));
  const ratio = ms.map((c, i) => c / (best[i] as { ms: number }).ms);
  const round = (n: number): string => (n < 100 ? n.toFixed(1) : n.toFixed(0));
  print(
    `${s.name}, best of the others`,
    best.map((b) => `${round(b.ms)} ${b.name}`),
  );
  print(`${s.name}, PageCache`, ms.map(round));
  print(
    'ratio',
    ratio.map((r) => r.toFixed(3)),
  );
  print(
    'who knows everything before',
    all.map((p) => round(leastMs(p, s))),
  );
  const wins = ratio.filter((r) => r < 1).length;
  const close = ratio.filter((r) => r >= 1 && r <= 1.02).length;
  verdicts.push(
    `${s.name}: cheaper than every other on ${wins} of ${all.length}, within 2 % of the best on ${close} more`,
  );
  const record = {
    name: 'http',
    args: [s.name],
    figures: { wins, close, ...Object.fromEntries(ratio.map((r, i) => [names[i], r])) },
  };
  appendFileSync(
    new URL('./results.jsonl', import.meta.url),
    `${JSON.stringify({ ...record, node: process.version })}\n`,
  );
});
for (const line of verdicts) console.log(line);

/** The same over real HTTP: the server's counts beside those of the store. */
console.log();
const chosen = all.filter((p) => ['P1', 'P4', 'hyparquet', 'geotiff', 'pmtiles'].includes(p.name));
head(
  'requests / MB, as the server counts',
  chosen.map((p) => p.name),
);
const overHttp = async (pattern: Pattern, run: (server: RangeServer) => Promise<void>): Promise<string> => {
  const server = await RangeServer.start(pattern.size);
  try {
    await run(server);
  } finally {
    await server.stop();
  }
  return cell(server);
};
for (const kind of peers.filter(({ name }) => name.startsWith('geotiff') || name.startsWith('hyparquet'))) {
  const cells: string[] = [];
  for (const p of chosen) cells.push(await overHttp(p, async (s) => replay(p, await kind.open(s.store(p.size)))));
  print(kind.name, cells);
}
for (const s of settings) {
  const cells: string[] = [];
  for (const p of chosen) cells.push(await overHttp(p, (server) => ours(p, httpSource(server.url, { hints: s }))));
  print(`PageCache, ${s.name}`, cells);
}

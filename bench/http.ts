/**
 * What reading over HTTP ranges costs: nine access patterns (http_patterns.ts), each through every cache (http_peers.ts) and ours,
 * with 32 MiB. Requests and bytes are counted; the cost is requests × latency + bytes / bandwidth.
 *
 *     npm run bench -- http
 */
import { PageCache } from '../src/cache/index.ts';
import { type Pattern, patterns } from './http_patterns.ts';
import { BUDGET, type Peer, type PeerKind, peers } from './http_peers.ts';
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
  { name: 'far', latencyMs: 20, bytesPerSecond: 100e6 },
  { name: 'near', latencyMs: 1, bytesPerSecond: 1e9 },
];

const costMs = ({ requests, bytes }: Counts, s: Setting): number =>
  requests * s.latencyMs + (bytes / s.bytesPerSecond) * 1000;

async function replay(pattern: Pattern, peer: Peer): Promise<void> {
  const read = async (at: number, length: number): Promise<void> => {
    const bytes = await peer.read(at, length);
    if (bytes !== undefined) check(bytes, at, length);
  };
  for (const wave of pattern.waves)
    if (peer.serial) for (const r of wave) await read(r.at, r.length);
    else await Promise.all(wave.map((r) => read(r.at, r.length)));
}

async function peerCounts(pattern: Pattern, kind: PeerKind): Promise<Counts> {
  const store = new Counted(pattern.size, kind.is === 'library');
  await replay(pattern, await kind.open(store));
  return { requests: store.requests, bytes: store.bytes };
}

async function ourCounts(pattern: Pattern, hints: Setting): Promise<Counts> {
  const store = new Counted(pattern.size, true);
  const cache = new PageCache({ memory: BUDGET });
  const file = await cache.open(store.source(hints));
  await replay(pattern, {
    async read(at, length) {
      const into = new Uint8Array(length);
      const n = file.read(into, at);
      return into.subarray(0, typeof n === 'number' ? n : await n);
    },
  });
  const counts = { requests: store.requests, bytes: store.bytes };
  await cache.close();
  return counts;
}

const cell = ({ requests, bytes }: Counts): string => `${requests} / ${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)}`;
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

const all = patterns();
const counted = new Map<string, Counts[]>();
for (const kind of peers) {
  const counts: Counts[] = [];
  for (const pattern of all) counts.push(await peerCounts(pattern, kind));
  counted.set(kind.name, counts);
}
console.log(row(['requests / MB', ...all.map((p) => p.name)]));
console.log(row(['---', ...all.map(() => '---')]));
for (const [name, counts] of counted) console.log(row([name, ...counts.map(cell)]));
const ours: Counts[][] = [];
for (const s of settings) {
  const counts: Counts[] = [];
  for (const pattern of all) counts.push(await ourCounts(pattern, s));
  ours.push(counts);
  console.log(row([`PageCache, ${s.name}`, ...counts.map(cell)]));
}
console.log();
console.log(row(['cost, ms', ...all.map((p) => p.name)]));
console.log(row(['---', ...all.map(() => '---')]));
settings.forEach((s, k) => {
  const best = all.map((_, i) => {
    let least: [string, number] = ['', Number.POSITIVE_INFINITY];
    for (const [name, counts] of counted) {
      const c = costMs(counts[i] as Counts, s);
      if (c < least[1]) least = [name, c];
    }
    return least;
  });
  const mine = (ours[k] as Counts[]).map((c) => costMs(c, s));
  const ratio = mine.map((c, i) => c / (best[i] as [string, number])[1]);
  console.log(row([`${s.name}: best of the others`, ...best.map(([name, c]) => `${Math.round(c)} (${name})`)]));
  console.log(row([`${s.name}: PageCache`, ...mine.map((c) => `${Math.round(c)}`)]));
  console.log(row([`${s.name}: ratio`, ...ratio.map((r) => r.toFixed(3))]));
  const wins = ratio.filter((r) => r < 1).length;
  const close = ratio.filter((r) => r >= 1 && r <= 1.02).length;
  console.log(`${s.name}: cheaper on ${wins} of ${all.length}, within 2 % of the best on ${close} more`);
});

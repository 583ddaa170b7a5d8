/**
 * A server of ranges that can be told to misbehave. What it does is in the URL, so that a browser can ask for it too:
 *
 *     /SIZE/SEED?faults=-,whole,-,gzip&etag=weak&modified=none
 *
 * The n-th request of a URL gets the n-th fault; `-` and all after the list are answered well. Bytes are those of
 * `content(SEED, …)`; after `change` the object is another version, that of SEED + 1.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { content } from './content.ts';

export const FAULTS = [
  /** Nothing is wrong, it only takes time; `slow` sends the body byte by byte, nearly. */
  'delay',
  'slow',
  /** The connection ends: before the answer, in the middle of an announced body, or as if the body were complete. */
  'reset',
  'short',
  'shortChunked',
  /** More bytes than the range has. */
  'long',
  /** A range that was not asked for: elsewhere, shorter, without Content-Range, as one part of several, in another unit. */
  'shifted',
  'half',
  'unnamed',
  'multipart',
  'unit',
  /** A Content-Length that is not the range's; a total that is not the object's, or none. */
  'length',
  'total',
  'star',
  'whole',
  'gzip',
  'redirect',
  'loop',
  'unsatisfiable',
  /** The object is replaced: by a server that looks at conditions, one that does not, and one that hides the tag as well. */
  'change',
  'changeDeaf',
  'changeUntagged',
  'grow',
  'gone',
  'forbidden',
  'busy',
  'broken',
  'tomorrow',
  /** No answer ever. */
  'stall',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Logged {
  readonly url: string;
  readonly range: string;
  readonly headers: IncomingMessage['headers'];
  status: number;
  /** Bytes of the body given to the connection. */
  sent: number;
  /** The client has left before the answer was complete. */
  left: boolean;
}

interface Version {
  size: number;
  seed: number;
  deaf: boolean;
  untagged: boolean;
}

export class FaultServer {
  readonly log: Logged[] = [];
  private readonly versions = new Map<string, Version>();
  private readonly counts = new Map<string, number>();
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async listen(): Promise<FaultServer> {
    const server = createServer();
    const faults = new FaultServer(server);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      response.on('error', () => {});
      faults.answer(request, response).catch((error: unknown) => {
        response.destroy(error instanceof Error ? error : undefined);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return faults;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Requests for a URL, in order. */
  asked(url: string): Logged[] {
    return this.log.filter((entry) => this.origin + entry.url === url);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.origin);
    const crossOrigin = {
      'access-control-allow-origin': '*',
      'access-control-expose-headers':
        url.searchParams.get('expose') ?? 'Content-Range, ETag, Content-Encoding, Retry-After',
    };
    if (request.method === 'OPTIONS') {
      // Other headers than the simple ones only where the URL says so.
      const allow = url.searchParams.get('allow');
      response.writeHead(
        allow === null ? 403 : 204,
        allow === null ? {} : { ...crossOrigin, 'access-control-allow-headers': allow },
      );
      response.end();
      return;
    }
    const key = request.url ?? '';
    const count = this.counts.get(key) ?? 0;
    this.counts.set(key, count + 1);
    const fault = (url.searchParams.get('faults') ?? '').split(',')[count] ?? '-';
    const version = this.version(key, url);
    const entry: Logged = {
      url: key,
      range: request.headers.range ?? '',
      headers: request.headers,
      status: 0,
      sent: 0,
      left: false,
    };
    response.on('close', () => {
      entry.left = !response.writableFinished;
    });
    this.log.push(entry);
    for (const [name, value] of Object.entries(crossOrigin)) response.setHeader(name, value);
    await respond({ request, response, url, entry, version }, fault as Fault | '-');
  }

  private version(key: string, url: URL): Version {
    const known = this.versions.get(key);
    if (known !== undefined) return known;
    const [size, seed] = url.pathname.split('/').slice(1).map(Number);
    const first: Version = { size: size ?? 0, seed: seed ?? 0, deaf: url.searchParams.has('deaf'), untagged: false };
    this.versions.set(key, first);
    return first;
  }
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly entry: Logged;
  readonly version: Version;
}

/** Headers that name the version. */
function validators({ url, version }: Exchange): Record<string, string> {
  const { size, seed } = version;
  const kind = version.untagged ? 'none' : url.searchParams.get('etag');
  const date = new Date(Date.UTC(2024, 0, 1, 0, 0, seed % 1000)).toUTCString();
  return {
    ...(kind === 'none' ? null : { etag: `${kind === 'weak' ? 'W/' : ''}"${size}-${seed}"` }),
    ...(url.searchParams.get('modified') === 'none' ? null : { 'last-modified': date }),
  };
}

async function respond(x: Exchange, fault: Fault | '-'): Promise<void> {
  const { request, response, url, version } = x;
  const end = (status: number, headers: Record<string, string> = {}, body = ''): void => {
    x.entry.status = status;
    response.writeHead(status, { 'content-length': String(Buffer.byteLength(body)), ...headers });
    response.end(body);
  };
  switch (fault) {
    case 'stall':
      return;
    case 'reset':
      request.socket.destroy();
      return;
    case 'delay':
      await sleep(30);
      break;
    case 'redirect':
      return end(302, { location: url.href.replace(/faults=[^&]*/, 'faults=') });
    case 'loop':
      return end(302, { location: url.href });
    case 'unsatisfiable':
      return end(416, { 'content-range': `bytes */${version.size}` });
    case 'gone':
      return end(404, {}, 'no such object');
    case 'forbidden':
      return end(403, {}, 'no');
    case 'busy':
      return end(429, { 'retry-after': '0' }, 'later');
    case 'tomorrow':
      return end(503, { 'retry-after': '86400' });
    case 'broken':
      return end(503, { 'retry-after': new Date(Date.now() + 1000).toUTCString() }, 'later');
    case 'change':
    case 'changeDeaf':
    case 'changeUntagged':
    case 'grow':
      version.seed++;
      if (fault === 'grow') version.size += 4096;
      version.deaf ||= fault !== 'change';
      version.untagged ||= fault === 'changeUntagged';
      break;
  }
  const tags = validators(x);
  if (!version.deaf && conditionFails(request, tags)) return end(412, tags);
  const range = rangeOf(request.headers.range, version.size);
  if (range === 'unsatisfiable') return end(416, { 'content-range': `bytes */${version.size}`, ...tags });
  await send(x, fault, tags, range);
}

/** First byte and the one after the last. */
type Range = readonly [from: number, to: number];

async function send(x: Exchange, fault: Fault | '-', tags: Record<string, string>, range: Range | null): Promise<void> {
  const { version, url } = x;
  const { size, seed } = version;
  if (range === null || fault === 'whole' || url.searchParams.has('whole'))
    return stream(x, 200, { ...tags, 'content-length': String(size) }, 0, size);
  let [from, to] = range;
  if (fault === 'shifted') [from, to] = from > 0 ? [from - 1, to - 1] : [from + 1, Math.max(from + 2, to)];
  if (fault === 'half') to = from + Math.ceil((to - from) / 2);
  const length = to - from;
  const total = fault === 'star' ? '*' : String(fault === 'total' ? size + 1 : size);
  const headers: Record<string, string> = {
    ...tags,
    'content-range': `${fault === 'unit' ? 'pages' : 'bytes'} ${from}-${to - 1}/${total}`,
    'content-length': String(fault === 'length' ? length + 1 : length),
  };
  const without = (name: string): Record<string, string> =>
    Object.fromEntries(Object.entries(headers).filter(([key]) => key !== name));
  switch (fault) {
    case 'unnamed':
      return stream(x, 206, without('content-range'), from, to);
    case 'multipart':
      return stream(
        x,
        206,
        { ...without('content-range'), 'content-type': 'multipart/byteranges; boundary=x' },
        from,
        to,
      );
    case 'gzip': {
      const body = gzipSync(content(seed, from, to));
      x.entry.status = 206;
      x.entry.sent = body.length;
      x.response.writeHead(206, { ...headers, 'content-encoding': 'gzip', 'content-length': String(body.length) });
      x.response.end(body);
      return;
    }
    case 'short':
      return stream(x, 206, headers, from, from + Math.floor(length / 2));
    case 'shortChunked':
      return stream(x, 206, without('content-length'), from, from + Math.floor(length / 2));
    case 'long':
      return stream(x, 206, without('content-length'), from, to + 100);
    case 'slow':
      return stream(x, 206, headers, from, to, Math.max(1, Math.ceil(length / 7)));
    default:
      return stream(x, 206, headers, from, to);
  }
}

/** Sends bytes of the object in chunks until the client goes; ends the connection where the announced length is not reached. */
async function stream(
  x: Exchange,
  status: number,
  headers: Record<string, string>,
  from: number,
  to: number,
  chunk = 65536,
): Promise<void> {
  const { response, entry } = x;
  entry.status = status;
  response.writeHead(status, headers);
  for (let at = from; at < to && !response.destroyed; at += chunk) {
    const bytes = content(x.version.seed, at, Math.min(to, at + chunk));
    entry.sent += bytes.length;
    if (!response.write(bytes)) await drained(response);
    if (chunk < 65536) await sleep(2);
  }
  const announced = headers['content-length'];
  if (announced !== undefined && Number(announced) !== to - from) response.socket?.end();
  else response.end();
}

/** Until there is room, or the client has gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

function conditionFails(request: IncomingMessage, tags: Record<string, string>): boolean {
  const match = request.headers['if-match'];
  if (match !== undefined) return match !== tags.etag || match.startsWith('W/');
  const since = request.headers['if-unmodified-since'];
  return (
    since !== undefined && tags['last-modified'] !== undefined && Date.parse(tags['last-modified']) > Date.parse(since)
  );
}

function rangeOf(header: string | undefined, size: number): Range | 'unsatisfiable' | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null) return null;
  const [, first = '', last = ''] = match;
  if (first === '') return size === 0 ? 'unsatisfiable' : [Math.max(0, size - Number(last)), size];
  const from = Number(first);
  if (from >= size) return 'unsatisfiable';
  return [from, Math.min(size, last === '' ? size : Number(last) + 1)];
}

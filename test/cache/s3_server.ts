/**
 * A store that speaks as much S3 as the source needs, and believes nobody: every request's signature (AWS Signature
 * Version 4) is computed again, from what arrived. Conditions on reads and writes are looked at, as S3 does.
 */
import { createHash, createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI+bPxRfiCYEXAMPLEKEY' };
const REGION = 'eu-central-1';

interface Stored {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What goes wrong with the next write. `lost`: it is stored, and the answer is not sent. */
export type WriteFault = 'slowDown' | 'lost' | 'reset' | 'untagged';

export class S3Server {
  readonly objects = new Map<string, Stored>();
  readonly log: string[] = [];
  writeFaults: WriteFault[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async listen(): Promise<S3Server> {
    const server = createServer();
    const store = new S3Server(server);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const body: Buffer[] = [];
      request.on('data', (chunk: Buffer) => body.push(chunk));
      request.on('end', () => store.answer(request, response, Buffer.concat(body)));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return store;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  put(path: string, bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}): string {
    const etag = `"${createHash('md5').update(bytes).digest('hex')}"`;
    this.objects.set(path, { bytes: Buffer.from(bytes), etag, headers });
    return etag;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: IncomingMessage, response: ServerResponse, body: Buffer): unknown {
    const path = (request.url ?? '').split('?')[0] ?? '';
    const { range = '' } = request.headers;
    this.log.push(`${request.method} ${path}${range === '' ? '' : ` ${range}`}`);
    const fail = (status: number, code: string): unknown => {
      response.writeHead(status, { 'content-type': 'application/xml' });
      return response.end(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`);
    };
    const wrong = signatureError(request, body);
    if (wrong !== null) return fail(403, wrong);
    if (request.method === 'PUT') return this.write(request, response, path, body, fail);
    const object = this.objects.get(path);
    if (object === undefined) return fail(404, 'NoSuchKey');
    const { bytes, etag } = object;
    const match = request.headers['if-match'];
    if (match !== undefined && match !== etag) return fail(412, 'PreconditionFailed');
    const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? [];
    const from = first === '' ? Math.max(0, bytes.length - Number(last)) : Number(first);
    const to = first === '' || last === '' ? bytes.length : Math.min(bytes.length, Number(last) + 1);
    if (from >= bytes.length) {
      response.setHeader('content-range', `bytes */${bytes.length}`);
      return fail(416, 'InvalidRange');
    }
    response.writeHead(206, { ...object.headers, etag, 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` });
    return response.end(bytes.subarray(from, to));
  }

  private write(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    body: Buffer,
    fail: (status: number, code: string) => unknown,
  ): unknown {
    const fault = this.writeFaults.shift();
    if (fault === 'slowDown') return fail(503, 'SlowDown');
    if (fault === 'reset') {
      return request.socket.destroy();
    }
    const old = this.objects.get(path);
    const { 'if-match': match, 'if-none-match': none } = request.headers;
    if ((match !== undefined && match !== old?.etag) || (none === '*' && old !== undefined))
      return fail(412, 'PreconditionFailed');
    const headers = Object.entries(request.headers).flatMap(([name, value]) =>
      /^(content-type|cache-control|x-amz-meta-)/.test(name) && typeof value === 'string' ? [[name, value]] : [],
    );
    const etag = this.put(path, body, Object.fromEntries(headers) as Record<string, string>);
    if (fault === 'lost') {
      return request.socket.destroy();
    }
    response.writeHead(200, fault === 'untagged' ? {} : { etag });
    return response.end();
  }
}

const hex = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');
const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** The code of S3's refusal, or null when the request was signed with our keys as it is. */
function signatureError(request: IncomingMessage, body: Buffer): string | null {
  const header = request.headers.authorization ?? '';
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (parts === null) return 'AccessDenied';
  const [, keyId, day = '', region = '', signed = '', signature] = parts;
  if (keyId !== KEYS.accessKeyId) return 'InvalidAccessKeyId';
  if (region !== REGION) return 'AuthorizationHeaderMalformed';
  const names = signed.split(';');
  const payload = String(request.headers['x-amz-content-sha256'] ?? '');
  if (payload !== 'UNSIGNED-PAYLOAD' && payload !== hex(body)) return 'XAmzContentSHA256Mismatch';
  if (!names.includes('host') || !names.includes('x-amz-date')) return 'AccessDenied';
  const url = new URL(request.url ?? '/', 'http://host');
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join('&');
  const headers = names.map((name) => `${name}:${String(request.headers[name] ?? '').trim()}\n`).join('');
  const canonical = [request.method, url.pathname, query, headers, signed, payload].join('\n');
  const date = String(request.headers['x-amz-date']);
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', date, scope, hex(canonical)].join('\n');
  const key = [day, region, 's3', 'aws4_request'].reduce<string | Buffer>(
    (k, text) => hmac(k, text),
    `AWS4${KEYS.secretAccessKey}`,
  );
  return hmac(key, toSign).toString('hex') === signature ? null : 'SignatureDoesNotMatch';
}

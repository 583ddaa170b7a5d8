/** The object of http_store.ts behind a real server on 127.0.0.1 that counts, and the ways to it. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Store } from './http_peers.ts';
import { fill } from './http_store.ts';

export class RangeServer {
  requests = 0;
  bytes = 0;
  private readonly server: Server;

  private constructor(size: number) {
    this.server = createServer((request, response) => {
      const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
      if (range === null) {
        response.writeHead(400).end();
        return;
      }
      const from = Number(range[1]);
      const to = Math.min(Number(range[2]) + 1, size);
      const body = new Uint8Array(to - from);
      fill(body, from);
      this.requests++;
      this.bytes += body.length;
      response.writeHead(206, {
        'content-length': body.length,
        'content-range': `bytes ${from}-${to - 1}/${size}`,
        'accept-ranges': 'bytes',
        etag: '"one"',
      });
      response.end(body);
    });
  }

  static async start(size: number): Promise<RangeServer> {
    const s = new RangeServer(size);
    await new Promise<void>((resolve) => s.server.listen(0, '127.0.0.1', resolve));
    return s;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/object`;
  }

  store(size: number): Store {
    const get = async (at: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
      const response = await fetch(this.url, { headers: { range: `bytes=${at}-${at + length - 1}` } });
      return new Uint8Array(await response.arrayBuffer());
    };
    return { size, get };
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/**
 * SQLite in Chromium: on the cache over OPFS beside the host's own VFS for it (opfs-sahpool of @sqlite.org/sqlite-wasm, the
 * fastest that it ships), in a worker each, with the same loads and a database of four times the cache's budget.
 */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright';
import { build, type Rolldown } from 'vite';

const here = fileURLToPath(new URL('.', import.meta.url));
const browsers = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The worker and what it loads, by path. */
async function files(): Promise<Map<string, string | Uint8Array>> {
  const built = (await build({
    configFile: false,
    logLevel: 'error',
    root: join(here, '..'),
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      assetsInlineLimit: 0,
      rollupOptions: {
        input: { worker: join(here, 'sqlite_opfs_worker.ts') },
        output: { entryFileNames: '[name].js' },
      },
    },
  })) as Rolldown.RolldownOutput;
  return new Map(built.output.map((file) => [`/${file.fileName}`, file.type === 'chunk' ? file.code : file.source]));
}

const typeOf = (path: string): string =>
  path.endsWith('.wasm') ? 'application/wasm' : path.endsWith('js') ? 'text/javascript' : 'text/html';

/** Milliseconds of each part of the loads, on `how`: cache or opfs-sahpool. */
export async function sqliteOpfs(how: string): Promise<Record<string, number>> {
  const executablePath = browsers.find((path) => existsSync(path));
  if (executablePath === undefined) throw new Error('no chromium on this machine');
  const served = await files();
  served.set('/', '<!doctype html><title>bench</title>');
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    const body = served.get(path);
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': typeOf(path) }).end(body ?? '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const answer = await page.evaluate(
      `new Promise((resolve) => {
        const worker = new Worker('/worker.js', { type: 'module' });
        worker.onmessage = (event) => resolve(event.data);
        worker.onerror = (event) => resolve({ error: event.message });
        worker.postMessage(${JSON.stringify(how)});
      })`,
    );
    const { figures, error } = answer as { figures?: Record<string, number>; error?: string };
    if (figures === undefined) throw new Error(`${how}: ${error}`);
    return figures;
  } finally {
    await browser.close();
    server.close();
  }
}

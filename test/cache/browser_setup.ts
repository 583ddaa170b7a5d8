/** Runs in Node beside the browser's tests: the server that they read from, on an origin that is not theirs. */
import type { TestProject } from 'vitest/node';
import { FaultServer } from './http_server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    faultServer: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await FaultServer.listen();
  project.provide('faultServer', server.origin);
  return () => server.close();
}

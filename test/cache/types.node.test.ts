/** The declarations as a program meets them: on a page and in Node. They stand in for the host's own types, so these must fit. */
import { existsSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { root } from '../../tools/sources.ts';

const common = `
  import { AwsClient } from 'aws4fetch';
  import { PageCache, type Source } from 'quire-mm/cache';
  import { httpSource, memorySource, s3Source } from 'quire-mm/cache/sources';
  const cache = new PageCache({ memory: '64MiB' });
  const signer = new AwsClient({ accessKeyId: 'a', secretAccessKey: 'b' });
  export const all: Promise<unknown>[] = [
    cache.open(httpSource(new URL('https://example.org/x'), { fetch })),
    cache.open(s3Source('https://example.org/x', { signer, fetch: (input, init) => fetch(input, init) })),
  ];
  export const own: Source = { name: 'own', open: async () => ({ size: 5 }), read: async (into) => into.length };
  export const bytes: Uint8Array = memorySource(5).bytes();
  // @ts-expect-error a wrong use is one
  new PageCache({ memory: true });
`;
const browser = `${common}
  import { blobSource, opfsSource } from 'quire-mm/cache/sources';
  export async function open(handle: FileSystemFileHandle, file: File): Promise<void> {
    const cached = await cache.open(opfsSource(handle, { write: true }));
    await (await cache.open(blobSource(file))).readable().pipeTo(cached.writable());
  }
`;
const node = `${common}
  import { open } from 'node:fs/promises';
  import { fileSource } from 'quire-mm/cache/node';
  export const file = cache.openSync(fileSource('x', { create: true }));
  export const handle = open('x');
`;

/** What the compiler says of a file of that text, in a program with these libraries. */
function complaints(text: string, lib: readonly string[], types: string[]): string[] {
  const name = `${root}consumer.ts`;
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: lib.map((one) => `lib.${one}.d.ts`),
    types,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    noEmit: true,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (path) => path === name || fileExists(path);
  host.getSourceFile = (path, ...rest) =>
    path === name ? ts.createSourceFile(path, text, ts.ScriptTarget.ES2022) : getSourceFile(path, ...rest);
  const program = ts.createProgram([name], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map((d) => `${d.file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(d.messageText, ' ')}`);
}

// `npm test` and `npm run build` make them.
const built = existsSync(`${root}dist/cache/sources/index.d.ts`);

describe.skipIf(!built)('the declarations fit', () => {
  test('a page', () => {
    expect(complaints(browser, ['es2023', 'esnext.disposable', 'dom', 'dom.asynciterable'], [])).toEqual([]);
  });

  test('Node', () => {
    expect(complaints(node, ['es2023'], ['node'])).toEqual([]);
  });
});

/** Files without a cache, in the shape that the adapters take: what their answers through the cache are compared with. */
import type { DatabaseCache, DatabaseFile } from '../../../src/cache/adapters/sqlite_files.ts';
import type { Source } from '../../../src/cache/source.ts';

function file(source: Source, opened: { size: number }): DatabaseFile {
  let { size } = opened;
  const grow = (to: number): number => {
    size = Math.max(size, to);
    return to;
  };
  const need = (what: string): never => {
    throw new Error(`${source.name}: no ${what}`);
  };
  return {
    get size() {
      return size;
    },
    read: (into, at) => source.read(into, at),
    readSync: (into, at) => source.readSync?.(into, at) ?? need('readSync'),
    async write(from, at) {
      await (source.write ?? need('write'))(from, at);
      grow(at + from.length);
      return from.length;
    },
    writeSync(from, at) {
      (source.writeSync ?? need('writeSync'))(from, at);
      grow(at + from.length);
      return from.length;
    },
    async truncate(to) {
      await (source.truncate ?? need('truncate'))(to);
      size = to;
    },
    truncateSync(to) {
      (source.truncateSync ?? need('truncateSync'))(to);
      size = to;
    },
    sync: async () => source.sync?.(),
    syncSync: () => source.syncSync?.(),
    close: async () => source.close?.(),
    closeSync: () => source.closeSync?.(),
  };
}

/** Every call goes straight to the source. */
export const direct: DatabaseCache = {
  open: async (source) => file(source, await source.open()),
  openSync: (source) => file(source, source.openSync?.() ?? { size: 0 }),
};

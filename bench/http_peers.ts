/**
 * The caches that ours is measured beside, each over a store that counts. hyparquet, geotiff and chunkd are the libraries
 * themselves; fsspec (Python) and Linux's readahead are rules written down here: tools/fsspec_counts.py holds the first to the library.
 */
import { SourceCache, SourceChunk } from '@chunkd/middleware';
import { type Source as ChunkdSource, SourceView } from '@chunkd/source';
import { cachedAsyncBuffer } from 'hyparquet';
import { Replay } from '../src/lab/replay.ts';
import { defaultSettings, events, OP, OPEN_READ } from '../src/trace/event.ts';

/** An object of ranges: `get` is one request. */
export interface Store {
  readonly size: number;
  get(at: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

export interface Peer {
  /** Reads that are asked for together go on together; otherwise one after the other, as the library does it. */
  readonly serial?: boolean;
  /** The bytes, or none where only the requests are modelled. */
  read(at: number, length: number): Promise<Uint8Array | undefined>;
  close?(): Promise<void>;
}

export interface PeerKind {
  readonly name: string;
  /** The library itself, or its rule. */
  readonly is: 'library' | 'model';
  open(store: Store): Peer | Promise<Peer>;
}

const KIB = 1024;
const MIB = 1024 * KIB;
export const BUDGET = 32 * MIB;

const none: PeerKind = {
  name: 'none',
  is: 'library',
  open: (store) => ({ read: (at, length) => store.get(at, length) }),
};

const hyparquet: PeerKind = {
  name: 'hyparquet cachedAsyncBuffer',
  is: 'library',
  open(store) {
    const file = cachedAsyncBuffer({
      byteLength: store.size,
      slice: async (start, end = store.size) => (await store.get(start, end - start)).buffer,
    });
    return { read: async (at, length) => new Uint8Array(await file.slice(at, at + length)) };
  },
};

/** What geotiff puts before a remote file. It is not among the package's exports, so it is loaded by its file's address. */
interface BlockedSource {
  fetch(slices: readonly { offset: number; length: number }[]): Promise<ArrayBuffer[]>;
}
type BlockedSourceClass = new (source: object, o: { blockSize: number; cacheSize: number }) => BlockedSource;

async function blockedSource(): Promise<BlockedSourceClass> {
  const entry = import.meta.resolve('geotiff');
  const file = (await import(new URL('./source/blockedsource.js', entry).href)) as {
    BlockedSource: BlockedSourceClass;
  };
  return file.BlockedSource;
}

const geotiff = (blocks: number): PeerKind => ({
  name: `geotiff BlockedSource 64 KiB × ${blocks}`,
  is: 'library',
  async open(store) {
    const Blocked = await blockedSource();
    const below = {
      fileSize: store.size,
      async fetchSlice({ offset, length }: { offset: number; length: number }) {
        const n = Math.min(length, store.size - offset);
        return { data: (await store.get(offset, n)).buffer, offset, length: n };
      },
    };
    const file = new Blocked(below, { blockSize: 64 * KIB, cacheSize: blocks });
    return {
      async read(offset, length) {
        const [data] = await file.fetch([{ offset, length }]);
        return new Uint8Array(data as ArrayBuffer);
      },
    };
  },
});

const chunkd: PeerKind = {
  name: 'chunkd 32 KiB chunks',
  is: 'library',
  open(store) {
    const below: ChunkdSource = {
      type: 'counted',
      url: new URL('memory://counted/object'),
      metadata: { size: store.size },
      head: () => Promise.resolve({ size: store.size }),
      async fetch(offset, length) {
        return (await store.get(offset, length ?? store.size - offset)).buffer;
      },
    };
    const view = new SourceView(below, [new SourceChunk({ size: 32 * KIB }), new SourceCache({ size: BUDGET })]);
    return { read: async (at, length) => new Uint8Array(await view.fetch(at, length)) };
  },
};

/** Keeps one piece: what was asked for and 5 MiB more. */
const fsspecReadahead: PeerKind = {
  name: 'fsspec readahead 5 MiB',
  is: 'model',
  open(store) {
    let from = 0;
    let to = 0;
    return {
      serial: true,
      async read(at, length) {
        const end = at + length;
        if (at >= from && end <= to) return undefined;
        const start = from <= at && at < to ? to : at;
        const stop = Math.min(store.size, end + 5 * MIB);
        await store.get(start, stop - start);
        from = start;
        to = stop;
        return undefined;
      },
    };
  },
};

const fsspecBlocks: PeerKind = {
  name: 'fsspec block cache 64 KiB × 512',
  is: 'model',
  open(store) {
    const held = new Set<number>();
    return {
      serial: true,
      async read(at, length) {
        for (let b = Math.floor(at / (64 * KIB)); b * 64 * KIB < at + length; b++) {
          if (!held.delete(b)) {
            await store.get(b * 64 * KIB, Math.min(64 * KIB, store.size - b * 64 * KIB));
            if (held.size === 512) held.delete(held.keys().next().value as number);
          }
          held.add(b);
        }
        return undefined;
      },
    };
  },
};

/** Linux 6.12 on XFS with a memory limit, as this project's engine models it; each I/O is a request. */
const linux = (window: number): PeerKind => ({
  name: `Linux readahead rule, window ${window / MIB} MiB`,
  is: 'model',
  open(store) {
    const r = new Replay(
      {
        name: 'ranges',
        settings: { ...defaultSettings(), fs: 'xfs' },
        files: [{ id: 1, name: 'object', size: store.size }],
        skipped: {},
        next: () => null,
        close: () => {},
      },
      { kernel: '6.12', memcg: BUDGET, readahead: window },
    );
    const row = events(1);
    row.count = 1;
    const play = (op: number, more: number, at: number, length: number): void => {
      row.op[0] = op;
      row.id[0] = 1;
      row.file[0] = 1;
      row.arg[0] = more;
      row.offset[0] = at;
      row.length[0] = length;
      r.play(row);
    };
    let asked: Promise<unknown>[] = [];
    const { device } = r;
    r.m.io = {
      read(mapping, offset, length, ahead) {
        asked.push(store.get(offset, Math.min(length, store.size - offset)));
        device.read(mapping, offset, length, ahead);
      },
      write() {},
      waitWriteback: (folio) => device.waitWriteback(folio),
    };
    play(OP.open, OPEN_READ, 0, 0);
    return {
      serial: true,
      async read(at, length) {
        play(OP.pread, 0, at, length);
        device.drain();
        await Promise.all(asked);
        asked = [];
        return undefined;
      },
    };
  },
});

export const peers: readonly PeerKind[] = [
  none,
  hyparquet,
  geotiff(100),
  geotiff(512),
  chunkd,
  fsspecReadahead,
  fsspecBlocks,
  linux(1 * MIB),
  linux(8 * MIB),
];

/** A file of OPFS as the standard has it, both ways of access, for runs outside a browser and for what can be made to fail. */
import type { OpfsHandle, OpfsSyncHandle, OpfsWritable } from '../../../src/cache/sources/opfs.ts';

const named = (name: string): Error => Object.assign(new Error(name), { name });

export class FakeFile implements OpfsHandle {
  readonly name = 'fake';
  bytes: Uint8Array<ArrayBuffer>;
  /** What the next commit or write throws. */
  failure: Error | null = null;
  commits = 0;
  reading = 0;
  private locked = false;
  /** Snapshots of an older version cannot be read. */
  private version = 0;
  readonly createSyncAccessHandle?: (options?: { mode?: string }) => Promise<OpfsSyncHandle>;

  constructor(bytes: Uint8Array, worker: boolean) {
    this.bytes = bytes.slice();
    if (worker) this.createSyncAccessHandle = (options) => this.access(options?.mode ?? 'readwrite');
  }

  /** As when another tab writes the file. */
  replace(bytes: Uint8Array): void {
    this.bytes = bytes.slice();
    this.version++;
  }

  async getFile(): Promise<Blob> {
    const { version } = this;
    const of = new Blob([this.bytes]);
    const part = (from: number, to: number): unknown => ({
      size: Math.max(0, Math.min(to, of.size) - from),
      arrayBuffer: async () => {
        this.reading++;
        await new Promise((resolve) => setTimeout(resolve, 0));
        this.reading--;
        if (version !== this.version) throw named('NotReadableError');
        return of.slice(from, to).arrayBuffer();
      },
    });
    return { size: of.size, slice: part } as unknown as Blob;
  }

  async createWritable(options?: { keepExistingData?: boolean }): Promise<OpfsWritable> {
    let draft = options?.keepExistingData ? this.bytes.slice() : new Uint8Array(0);
    const resize = (size: number): void => {
      const next = new Uint8Array(size);
      next.set(draft.subarray(0, size));
      draft = next;
    };
    return {
      write: async ({ position, data }) => {
        this.fail();
        const copy = data.slice();
        await Promise.resolve();
        if (position + copy.length > draft.length) resize(position + copy.length);
        draft.set(copy, position);
      },
      truncate: async (size) => resize(size),
      close: async () => {
        this.fail();
        if (this.reading > 0) throw new Error('replaced under a reader');
        this.commits++;
        this.replace(draft);
      },
    };
  }

  private fail(): void {
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
  }

  private async access(mode: string): Promise<OpfsSyncHandle> {
    if (this.locked) throw named('NoModificationAllowedError');
    this.locked = true;
    return {
      getSize: () => this.bytes.length,
      read: (into, { at }) => {
        const part = this.bytes.subarray(at, at + into.length);
        into.set(part);
        return part.length;
      },
      write: (from, { at }) => {
        if (mode === 'read-only') throw named('NoModificationAllowedError');
        this.fail();
        const next = new Uint8Array(Math.max(this.bytes.length, at + from.length));
        next.set(this.bytes);
        next.set(from, at);
        this.bytes = next;
        return from.length;
      },
      truncate: (size) => {
        const next = new Uint8Array(size);
        next.set(this.bytes.subarray(0, size));
        this.bytes = next;
      },
      flush: () => this.fail(),
      close: () => {
        this.locked = false;
      },
    };
  }
}

/**
 * A disk whose machine can stop. What was written and not synced is on it in part: of each write every sector of 512 bytes is
 * there or not, whatever the order in which they were written. A file whose first sync did not happen may be gone.
 */
import type { Prng } from '../../../src/base/prng.ts';
import type { Folder } from '../../../src/cache/adapters/sqlite_files.ts';
import type { Source } from '../../../src/cache/source.ts';

const SECTOR = 512;

interface Change {
  readonly at: number;
  /** Null: a cut at `at`. */
  readonly bytes: Uint8Array | null;
}
interface Stored {
  readonly durable: Bytes;
  readonly now: Bytes;
  changes: Change[];
  /** Its name is on the disk for good. */
  named: boolean;
}

/** Bytes that grow. */
class Bytes {
  private room = new Uint8Array(4096);
  size = 0;
  get all(): Uint8Array {
    return this.room.subarray(0, this.size);
  }
  /** Writes at `at`, or cuts there. */
  apply(at: number, bytes: Uint8Array | null): void {
    const end = bytes === null ? at : at + bytes.length;
    if (end > this.room.length) {
      const larger = new Uint8Array(2 * end);
      larger.set(this.all);
      this.room = larger;
    }
    if (bytes === null) this.room.fill(0, Math.min(at, this.size), Math.max(at, this.size));
    else this.room.set(bytes, at);
    this.size = bytes === null ? at : Math.max(this.size, end);
  }
}

export class CrashDisk implements Folder {
  private readonly files = new Map<string, Stored>();
  /** Writes, cuts, syncs and removals that still happen before the machine stops. */
  left = Number.POSITIVE_INFINITY;

  private step(): void {
    if (this.left <= 0) throw new Error('the machine has stopped');
    this.left -= 1;
  }

  open(name: string, create: boolean): Source | undefined {
    if (!this.files.has(name) && !create) return undefined;
    const file = this.files.get(name) ?? { durable: new Bytes(), now: new Bytes(), changes: [], named: false };
    this.files.set(name, file);
    const change = (at: number, bytes: Uint8Array | null): void => {
      this.step();
      file.now.apply(at, bytes);
      file.changes.push({ at, bytes: bytes?.slice() ?? null });
    };
    const sync = (): void => {
      this.step();
      for (const { at, bytes } of file.changes) file.durable.apply(at, bytes);
      file.changes = [];
      file.named = true;
    };
    const readSync = (into: Uint8Array, at: number): number => {
      const part = file.now.all.subarray(at, at + into.length);
      into.set(part);
      return part.length;
    };
    const size = (): { size: number } => ({ size: file.now.size });
    return {
      name,
      openSync: size,
      open: async () => size(),
      readSync,
      read: async (into, at) => readSync(into, at),
      writeSync: (from, at) => change(at, from),
      write: async (from, at) => change(at, from),
      truncateSync: (to) => change(to, null),
      truncate: async (to) => change(to, null),
      syncSync: sync,
      sync: async () => sync(),
    };
  }
  has(name: string): boolean {
    return this.files.has(name);
  }
  remove(name: string): boolean {
    this.step();
    return this.files.delete(name);
  }

  /** What the disk holds when the machine comes back. */
  afterCrash(r: Prng): CrashDisk {
    const disk = new CrashDisk();
    for (const [name, file] of this.files) {
      if (!file.named && r.below(2) === 0) continue;
      const bytes = new Bytes();
      bytes.apply(0, file.durable.all);
      for (const { at, bytes: change } of file.changes) {
        if (change === null) {
          if (r.below(2) === 0) bytes.apply(at, null);
          continue;
        }
        for (let from = 0; from < change.length; from += SECTOR) {
          if (r.below(2) === 0) bytes.apply(at + from, change.subarray(from, from + SECTOR));
        }
      }
      const now = new Bytes();
      now.apply(0, bytes.all);
      disk.files.set(name, { durable: bytes, now, changes: [], named: true });
    }
    return disk;
  }
}

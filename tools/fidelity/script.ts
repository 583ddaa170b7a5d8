import type { Prng } from '../../src/base/prng.ts';

/** What the `#` lines of an ops script say. */
export interface Setup {
  readonly fs: 'xfs' | 'ext4' | 'ext2' | 'btrfs' | 'tmpfs';
  readonly blockSize?: number;
  readonly readaheadKb?: number;
  readonly memcg?: number;
  readonly mountOption?: string;
  /** `64kB=always`, per size, and `top`. */
  readonly thp?: readonly string[];
}

export const KiB = 1024;
export const MiB = 1024 * 1024;
export const PAGE = 4096;
/** The largest read or write that a script may hold. */
export const IO_MAX = 16 * MiB;

/** Builds the text of an ops script; keeps each file's size and each handle's position so that patterns can aim. */
export class Script {
  readonly prng: Prng;
  readonly setup: Setup;
  private readonly head: string[] = ['#quire-ops 1'];
  private readonly ops: string[] = [];
  private readonly sizes = new Map<number, number>();
  private readonly fileOf = new Map<number, number>();
  private readonly position = new Map<number, number>();
  private readonly append = new Set<number>();
  private handles = 0;
  /** Bytes of each mapping, from mapping 1 on. */
  private readonly lengths: number[] = [];

  constructor(prng: Prng, setup: Setup) {
    this.prng = prng;
    this.setup = setup;
    this.head.push(`#fs,${setup.fs}`);
    if (setup.blockSize !== undefined) this.head.push(`#blocksize,${setup.blockSize}`);
    if (setup.readaheadKb !== undefined) this.head.push(`#ra_kb,${setup.readaheadKb}`);
    if (setup.memcg !== undefined) this.head.push(`#memcg,${setup.memcg}`);
    if (setup.mountOption !== undefined) this.head.push(`#mountopt,${setup.mountOption}`);
    if (setup.thp !== undefined) this.head.push(`#thp,${setup.thp.join(',')}`);
  }

  /** A file that exists, cold, before the script starts; gives its id. */
  file(size: number): number {
    const id = this.sizes.size + 1;
    this.sizes.set(id, size);
    this.head.push(`#file,${id},f${id}.bin,${size}`);
    return id;
  }
  open(file: number, flags: string): number {
    const handle = ++this.handles;
    this.fileOf.set(handle, file);
    this.position.set(handle, 0);
    if (flags.includes('t')) this.sizes.set(file, 0);
    if (flags.includes('a')) this.append.add(handle);
    this.ops.push(`open,${handle},${file},${flags}`);
    return handle;
  }
  close(h: number): void {
    this.ops.push(`close,${h}`);
  }
  sizeOf(h: number): number {
    return this.sizes.get(this.fileOf.get(h) as number) as number;
  }
  positionOf(h: number): number {
    return this.position.get(h) as number;
  }
  lseek(h: number, offset: number): void {
    this.position.set(h, offset);
    this.ops.push(`lseek,${h},${offset}`);
  }
  read(h: number, length: number): void {
    const at = this.positionOf(h);
    this.position.set(h, Math.max(at, Math.min(at + length, this.sizeOf(h))));
    this.ops.push(`read,${h},${length}`);
  }
  pread(h: number, offset: number, length: number): void {
    this.ops.push(`pread,${h},${offset},${length}`);
  }
  write(h: number, length: number): void {
    const at = this.append.has(h) ? this.sizeOf(h) : this.positionOf(h);
    this.position.set(h, at + length);
    this.grow(h, at + length);
    this.ops.push(`write,${h},${length}`);
  }
  pwrite(h: number, offset: number, length: number): void {
    this.grow(h, this.append.has(h) ? this.sizeOf(h) + length : offset + length);
    this.ops.push(`pwrite,${h},${offset},${length}`);
  }
  fsync(h: number): void {
    this.ops.push(`fsync,${h}`);
  }
  sync(): void {
    this.ops.push('sync');
  }
  fadvise(h: number, offset: number, length: number, advice: string): void {
    this.ops.push(`fadvise,${h},${offset},${length},${advice}`);
  }
  readahead(h: number, offset: number, length: number): void {
    this.ops.push(`readahead,${h},${offset},${length}`);
  }
  ftruncate(h: number, size: number): void {
    this.sizes.set(this.fileOf.get(h) as number, size);
    this.ops.push(`ftruncate,${h},${size}`);
  }
  punch(h: number, offset: number, length: number): void {
    this.ops.push(`punch,${h},${offset},${length}`);
  }
  fallocate(h: number, offset: number, length: number): void {
    this.grow(h, offset + length);
    this.ops.push(`fallocate,${h},${offset},${length}`);
  }
  /**
   * A mapping of `length` bytes from `offset` of the file behind a handle, or (h 0) of no file, `at` bytes past a 2 MiB
   * boundary. Gives its number.
   */
  mmap(h: number, offset: number, length: number, prot: string, sharing: 'shared' | 'private', at = 0): number {
    const map = this.lengths.push(length);
    const from = at > 0 ? `,${at}` : '';
    this.ops.push(`mmap,${map},${h === 0 ? '-' : h},${offset},${length},${prot},${sharing}${from}`);
    return map;
  }
  /** Bytes that a mapping was made with. */
  lengthOf(map: number): number {
    return this.lengths[map - 1] as number;
  }
  touch(map: number, offset: number, length: number, access: 'r' | 'w'): void {
    this.ops.push(`touch,${map},${offset},${length},${access}`);
  }
  madvise(map: number, offset: number, length: number, advice: string): void {
    this.ops.push(`madvise,${map},${offset},${length},${advice}`);
  }
  munmap(map: number, offset: number, length: number): void {
    this.ops.push(`munmap,${map},${offset},${length}`);
  }
  mprotect(map: number, offset: number, length: number, prot: string): void {
    this.ops.push(`mprotect,${map},${offset},${length},${prot}`);
  }
  mlock(map: number, offset: number, length: number): void {
    this.ops.push(`mlock,${map},${offset},${length}`);
  }
  fork(): void {
    this.ops.push('fork');
  }
  get count(): number {
    return this.ops.length;
  }
  text(): string {
    return `${[...this.head, ...this.ops].join('\n')}\n`;
  }
  private grow(h: number, end: number): void {
    const file = this.fileOf.get(h) as number;
    this.sizes.set(file, Math.max(this.sizes.get(file) as number, end));
  }
}

/** Events of an address space as JSON, and back: what is read is checked field by field. */
import { ADDRESS_END, type SpaceEvent } from './access.ts';
import { MADVICE } from './event.ts';

type Check = (value: unknown) => boolean;
const whole =
  (least: number, most: number): Check =>
  (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
const address = whole(0, ADDRESS_END);
const paged: Check = (value) => address(value) && (value as number) % 4096 === 0;
const pid = whole(0, 2 ** 31 - 1);
const bytes = whole(-1, 2 ** 53 - 1);
const prot = whole(0, 31);
const text: Check = (value) => typeof value === 'string' && value.length <= 4096;

const fields: { readonly [Op in SpaceEvent['op']]: Readonly<Record<string, Check>> } = {
  process: { pid },
  map: { address: paged, length: paged, prot, file: text },
  unmap: { address: paged, length: paged },
  protect: { address: paged, length: paged, prot },
  advise: { address: paged, length: paged, advice: whole(0, MADVICE.length - 1) },
  move: { address: paged, length: paged, to: paged, newLength: paged },
  fork: { pid },
  exec: {},
  begin: {},
  exit: { faults: bytes, majorFaults: bytes, rss: bytes, peak: bytes },
  counts: { file: bytes, shmem: bytes },
};

/** The event that `json` says, or null when it says none. */
export function parseEvent(json: string): SpaceEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return null;
  }
  return typeof value === 'object' && value !== null && isSound(value) ? value : null;
}

/** Is it an event, with numbers that make sense? */
export function isSound(value: object): value is SpaceEvent {
  const record = value as Readonly<Record<string, unknown>>;
  const { op } = record;
  if (typeof op !== 'string' || !Object.hasOwn(fields, op)) return false;
  const checks = fields[op as SpaceEvent['op']];
  if (Object.keys(record).length !== Object.keys(checks).length + 1) return false;
  for (const [name, check] of Object.entries(checks)) if (!check(record[name])) return false;
  const { address: at, length } = record;
  if (typeof at === 'number' && typeof length === 'number' && at + length > ADDRESS_END) return false;
  return true;
}

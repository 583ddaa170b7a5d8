/** Byte counts as people read them. */
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `4096` → `4 KiB`, `1500000` → `1.43 MiB`: three digits at most, whole numbers without a point. */
export function formatBytes(bytes: number): string {
  let n = bytes;
  let unit = 0;
  while (Math.abs(n) >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit++;
  }
  const text = Number.isInteger(n) ? String(n) : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2);
  return `${text} ${UNITS[unit]}`;
}

/** A comparison with a kernel's BTF as plain text: one line a structure, then each field that is not equal. */
import type { BtfReport, BtfStructCheck, Place, Verdict } from './btf_check.ts';

const head = ['struct', 'fields', 'equal', 'different', 'missing', 'bytes', 'kernel'] as const;

export function btfText(title: string, report: BtfReport): string {
  const rows = report.structs.map((s) => [
    s.name,
    `${s.rows.length}`,
    `${count(s, 'equal')}`,
    `${count(s, 'different')}`,
    `${count(s, 'missing')}`,
    `${s.bytes}`,
    s.kernelBytes === null ? 'none' : `${s.kernelBytes}`,
  ]);
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `  ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')}`;
  const wrong = report.structs.flatMap(wrongLines);
  const more = report.structs.flatMap((s) => s.more.map((field) => `${s.name}.${field}`));
  return `${[
    `${title} against ${report.file}`,
    '',
    line(head),
    ...rows.map(line),
    ...(wrong.length > 0 ? ['', ...wrong] : []),
    ...(more.length > 0 ? ['', `  only in the kernel: ${more.join(', ')}`] : []),
    '',
    report.equal ? 'every offset and size is equal' : 'not equal',
  ].join('\n')}\n`;
}

const count = (s: BtfStructCheck, verdict: Verdict): number => s.rows.filter((row) => row.verdict === verdict).length;

function wrongLines(s: BtfStructCheck): string[] {
  if (s.kernelBytes === null) return [`  struct ${s.name}: missing in the kernel`];
  const lines = s.rows
    .filter((row) => row.verdict !== 'equal')
    .map(
      (row) =>
        `  ${s.name}.${row.field}: ${row.verdict}: ${place(row.layout)} in the layout` +
        (row.kernel === null ? '' : `, ${place(row.kernel)} in the kernel`),
    );
  if (s.verdict === 'different') lines.push(`  struct ${s.name}: ${s.bytes} bytes, ${s.kernelBytes} in the kernel`);
  return lines;
}

/** `offset 16, 8 bytes`, `offset 40 bit 16, 15 bits`. */
function place({ bitOffset, bits }: Place): string {
  const byte = Math.floor(bitOffset / 8);
  if (bits % 8 === 0 && bitOffset % 8 === 0) return `offset ${byte}, ${bits / 8} bytes`;
  return `offset ${byte} bit ${bitOffset % 8}, ${bits} bits`;
}

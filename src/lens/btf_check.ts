/** A layout's structures beside those of a kernel that describes itself by BTF: field by field, offset and size. */
import { readFileSync } from 'node:fs';
import { InputError } from '../base/errors.ts';
import { bitRange, fieldsOf, type LayoutStruct } from '../mm/layout_struct.ts';
import { Btf, type BtfMember } from './btf.ts';

/** Where a kernel with CONFIG_DEBUG_INFO_BTF shows its own types. Anyone may read it. */
export const BTF_OF_THIS_KERNEL = '/sys/kernel/btf/vmlinux';

export type Verdict = 'equal' | 'different' | 'missing';

/** Bits from the start of the structure. */
export interface Place {
  readonly bitOffset: number;
  readonly bits: number;
}
export interface BtfRow {
  readonly field: string;
  readonly arm: string;
  readonly verdict: Verdict;
  readonly layout: Place;
  /** null: the kernel's structure has no such field. */
  readonly kernel: Place | null;
}
export interface BtfStructCheck {
  readonly name: string;
  /** Of the structure's size. */
  readonly verdict: Verdict;
  readonly bytes: number;
  readonly kernelBytes: number | null;
  readonly rows: readonly BtfRow[];
  /** Fields that the kernel has and the layout does not name. They do not count as a difference. */
  readonly more: readonly string[];
}
export interface BtfReport {
  readonly file: string;
  readonly structs: readonly BtfStructCheck[];
  /** Is every field and every size equal? */
  readonly equal: boolean;
}

/** Reads the BTF of the running kernel, or of a file. One line says what is wrong with it. */
export function readBtf(file: string = BTF_OF_THIS_KERNEL): Btf {
  try {
    return new Btf(readFileSync(file), file);
  } catch (error) {
    if (file === BTF_OF_THIS_KERNEL && (error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new InputError(
        file,
        0,
        'not there: this kernel was built without BTF; --check FILE reads that of another',
        {
          cause: error,
        },
      );
    throw error;
  }
}

/** Throws if the BTF describes none of the structures: it is then not a kernel's, and no answer would be right. */
export function checkBtf(btf: Btf, structs: readonly LayoutStruct[]): BtfReport {
  const checks = structs.map((struct) => checkStruct(btf, struct));
  if (checks.every((c) => c.kernelBytes === null))
    throw new InputError(btf.file, 0, `describes no struct ${structs.map((s) => s.name).join(', ')}`);
  const equal = checks.every((c) => c.verdict === 'equal' && c.rows.every((row) => row.verdict === 'equal'));
  return { file: btf.file, structs: checks, equal };
}

/** Names that a macro of the kernel changes before its compiler sees them. */
const compiled: Readonly<Record<string, string>> = { rcu_head: 'callback_head' };

function checkStruct(btf: Btf, struct: LayoutStruct): BtfStructCheck {
  const kernel = btf.struct(struct.name);
  const members = new Map<string, BtfMember>();
  for (const member of kernel?.members ?? []) if (!members.has(member.path)) members.set(member.path, member);
  const named = new Set<string>();
  const rows = fieldsOf(struct).map((field): BtfRow => {
    const [from, to] = bitRange(field);
    const path = compiled[field.name] ?? field.name;
    named.add(path);
    const member = members.get(path);
    const layout = { bitOffset: from, bits: to - from };
    const row = { field: field.name, arm: field.arm, layout };
    if (member === undefined) return { ...row, verdict: 'missing', kernel: null };
    const { bitOffset, bits } = member;
    const same = bitOffset === from && bits === to - from;
    return { ...row, verdict: same ? 'equal' : 'different', kernel: { bitOffset, bits } };
  });
  const kernelBytes = kernel?.bytes ?? null;
  const size = kernelBytes === null ? 'missing' : kernelBytes === struct.bytes ? 'equal' : 'different';
  const more = [...members.keys()].filter((path) => !path.includes('.') && !named.has(path));
  return { name: struct.name, verdict: size, bytes: struct.bytes, kernelBytes, rows, more };
}

/** The structures of each memory-map layout, by release. What they cost is in memmap.ts. */
import { QuireError } from '../base/errors.ts';
import type { LayoutStruct } from './layout_struct.ts';
import { overlay618 } from './layouts_overlay.ts';
import { overlay61, overlay612 } from './layouts_overlay_older.ts';
import { page64Structs } from './layouts_page64.ts';
import { memdesc8Structs, page32Structs } from './layouts_plan.ts';
import type { LayoutName } from './memmap.ts';

export interface ReleasedLayout {
  /** The kernel that has it; `plan`: none has. */
  readonly release: string;
  readonly structs: readonly LayoutStruct[];
}

/** The last of a layout is the one that is meant when no release is named. */
export const layoutReleases: Readonly<Record<LayoutName, readonly ReleasedLayout[]>> = {
  page64: [{ release: '5.15', structs: page64Structs }],
  overlay: [
    { release: '6.1', structs: overlay61 },
    { release: '6.12', structs: overlay612 },
    { release: '6.18', structs: overlay618 },
  ],
  page32: [{ release: 'plan', structs: page32Structs }],
  memdesc8: [{ release: 'plan', structs: memdesc8Structs }],
};
export const layoutNames = Object.keys(layoutReleases) as readonly LayoutName[];

/** A layout as it is in one release. Throws for a release whose structures are not known here. */
export function releasedLayout(layout: LayoutName, release?: string): ReleasedLayout {
  const known = layoutReleases[layout];
  const found = release === undefined ? known.at(-1) : known.find((r) => r.release === release);
  if (found !== undefined) return found;
  const names = known.map((r) => r.release).join(', ');
  throw new QuireError('EINVAL', `layout ${layout} is not known for release '${release}': expected ${names}`);
}

/** One structure of a layout, or all. Throws for a name that the layout does not have. */
export function layoutStructs({ structs }: ReleasedLayout, name?: string): readonly LayoutStruct[] {
  if (name === undefined) return structs;
  const found = structs.filter((s) => s.name === name);
  if (found.length > 0) return found;
  const names = structs.map((s) => s.name).join(', ');
  throw new QuireError('EINVAL', `no struct '${name}' in this layout: expected ${names}`);
}

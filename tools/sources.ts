/** The project's own files, for tests and tools that read them. Paths are relative to the root, with forward slashes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const text = (path: string): string => readFileSync(root + path, 'utf8');

/** Every file under a folder, sorted; `''` is the root, without what is installed, built or kept by git. */
export function filesUnder(folder: string): string[] {
  const found: string[] = [];
  // git keeps no empty folder: one that is not there holds nothing.
  if (!existsSync(root + folder)) return found;
  for (const entry of readdirSync(root + folder, { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isFile()) found.push(path);
    else if (entry.isDirectory() && !/^(node_modules|dist|coverage|\.git)$/.test(path)) found.push(...filesUnder(path));
  }
  return found.sort();
}

export const sources = (folder: string): string[] => filesUnder(folder).filter((path) => path.endsWith('.ts'));
/** The folders of src/ that hold sources. */
export const layers = (): string[] => [
  ...new Set(sources('src').flatMap((path) => (path.split('/').length > 2 ? [path.split('/')[1] ?? ''] : []))),
];

/** The project's own files, for tests and tools that read them. Paths are relative to the root, with forward slashes. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const text = (path: string): string => readFileSync(root + path, 'utf8');

/** Every file under a folder, sorted; `''` is the root, without what is installed, built or kept by git. */
export function filesUnder(folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(root + folder, { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isFile()) found.push(path);
    else if (entry.isDirectory() && !/^(node_modules|dist|coverage|\.git)$/.test(path)) found.push(...filesUnder(path));
  }
  return found.sort();
}

export const sources = (folder: string): string[] => filesUnder(folder).filter((path) => path.endsWith('.ts'));
/** The folders of src/. */
export const layers = (): string[] =>
  readdirSync(`${root}src`, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();

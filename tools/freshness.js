/** What tells whether a checkout is set up. No dependency: it runs before anything is installed. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
/** Written when a build ends well. Its time is the moment at which that build began. */
export const stamp = `${root}dist/.built`;

const mtime = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Newest change under a folder. Folders count too: a file taken away changes its folder only. */
function newest(folder) {
  let time = mtime(folder);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    time = Math.max(time, entry.isDirectory() ? newest(path) : mtime(path));
  }
  return time;
}

/** dist holds what src says. */
export function distIsFresh() {
  const built = mtime(stamp);
  return built > 0 && newest(`${root}src`) <= built && mtime(`${root}tsconfig.base.json`) <= built;
}

/** node_modules holds what the lockfile says. What is optional may be absent: it depends on the machine. */
export function modulesAreFresh() {
  try {
    const wanted = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')).packages;
    const had = JSON.parse(readFileSync(`${root}node_modules/.package-lock.json`, 'utf8')).packages;
    return Object.entries(wanted).every(([path, p]) =>
      path === '' || p.optional || p.devOptional ? true : had[path]?.version === p.version,
    );
  } catch {
    return false;
  }
}

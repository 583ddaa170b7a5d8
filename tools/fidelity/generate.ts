import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Prng } from '../../src/base/prng.ts';
import { FAMILIES } from './families.ts';

/**
 * Makes ops scripts from seeds: the same family and seed give the same text on every machine.
 *
 *   npx tsx tools/fidelity/generate.ts FAMILY SEED     prints one script
 *   npx tsx tools/fidelity/generate.ts --all DIR       writes the scripts of all families, FAMILY-SEED.ops
 *   npx tsx tools/fidelity/generate.ts --list
 */

/** The text of one script. The family's name is mixed into the seed, so that no two families share a sequence. */
export function generate(family: string, seed: number): string {
  const found = FAMILIES.find((f) => f.name === family);
  if (found === undefined) throw new RangeError(`no family '${family}': --list names them`);
  let mixed = seed;
  for (const c of family) mixed = Math.imul(mixed ^ c.charCodeAt(0), 0x01000193);
  return found.make(new Prng(mixed)).text();
}

/** Names and texts of one selection over all families; seeds from 1 on are the recorded one. */
export function* selection(firstSeed = 1): Generator<{ name: string; text: string }> {
  for (const f of FAMILIES) {
    for (let seed = firstSeed; seed < firstSeed + f.seeds; seed++) {
      yield { name: `${f.name}-${seed}`, text: generate(f.name, seed) };
    }
  }
}

function main(args: readonly string[]): number {
  const [first, second] = args;
  if (first === '--list') {
    for (const f of FAMILIES) console.log(`${f.name}\t${f.seeds}${f.twice ? '\trecorded twice' : ''}`);
  } else if (first === '--all' && second !== undefined) {
    mkdirSync(second, { recursive: true });
    for (const s of selection()) writeFileSync(join(second, `${s.name}.ops`), s.text);
  } else if (first !== undefined && FAMILIES.some((f) => f.name === first) && /^\d+$/.test(second ?? '')) {
    process.stdout.write(generate(first, Number(second)));
  } else {
    console.error('usage: generate.ts FAMILY SEED | --all DIR | --list');
    return 2;
  }
  return 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = main(process.argv.slice(2));

/** `quire layout`: the structures of a memory-map layout, and whether a kernel has them so. */
import { Argument, type Command } from '@commander-js/extra-typings';
import { QuireError } from '../../base/errors.ts';
import { layoutData, layoutText } from '../../lab/layout_text.ts';
import { checkBtf, readBtf } from '../../lens/btf_check.ts';
import { btfText } from '../../lens/btf_text.ts';
import { layoutNames, layoutStructs, releasedLayout } from '../../mm/layouts.ts';
import { addExample } from '../options.ts';

export function register(program: Command): void {
  const command = program
    .command('layout')
    .description(
      'Prints the structures of a memory-map layout: offset and size of each field, which fields share bytes and when each ' +
        'is valid, holes, cache lines. With --check it compares them with the running kernel, field by field, and exits ' +
        'with 1 if something differs. Needs no root.',
    )
    .addArgument(new Argument('<layout>', 'memory map').choices(layoutNames))
    .option('--release <name>', 'kernel that has it (default: the newest known: page64 5.15, overlay 6.18)')
    .option('--struct <name>', 'this structure alone: page, folio, slab, ptdesc, …')
    .option('--check [btf]', 'compare with the BTF of the running kernel, or of a file')
    .option('--json', 'one JSON object: quire.layout/1, or with --check quire.layout-check/1')
    .action((name, options) => {
      const layout = releasedLayout(name, options.release);
      const structs = layoutStructs(layout, options.struct);
      if (options.check === undefined) {
        write(options.json, layoutData(name, layout, structs), () => layoutText(name, layout, structs));
        return;
      }
      if (layout.release === 'plan')
        throw new QuireError('EINVAL', `layout ${name} is a plan: there is no kernel to check it against`);
      const report = checkBtf(readBtf(options.check === true ? undefined : options.check), structs);
      const head = { schema: 'quire.layout-check/1', layout: name, release: layout.release };
      write(options.json, { ...head, ...report }, () => btfText(`${name} ${layout.release}`, report));
      if (!report.equal) process.exitCode = 1;
    });
  addExample(command, 'quire layout overlay --struct folio', 'quire layout memdesc8', 'quire layout overlay --check');
}

function write(json: true | undefined, data: object, text: () => string): void {
  process.stdout.write(json ? `${JSON.stringify(data, null, 2)}\n` : text());
}

/** Files on the cache for generic-filehandle2, which @gmod's readers of BAM, CRAM, tabix and bigWig take. */
import type { FilehandleOptions, GenericFilehandle } from 'generic-filehandle2';
import { bytesAt, type ReadableFile } from './bytes.ts';

type Text = Exclude<Parameters<GenericFilehandle['readFile']>[0], undefined>;

/** The file as a GenericFilehandle. */
export function genericFilehandle(file: ReadableFile): GenericFilehandle {
  async function readFile(options?: FilehandleOptions): Promise<Uint8Array<ArrayBuffer>>;
  async function readFile(options: Text): Promise<string>;
  async function readFile(options?: FilehandleOptions | Text): Promise<Uint8Array<ArrayBuffer> | string> {
    const { encoding, signal } = typeof options === 'string' ? { encoding: options } : (options ?? {});
    if (encoding !== undefined && encoding !== 'utf8' && encoding !== 'utf-8') {
      throw new TypeError(`readFile: no encoding '${encoding}': expected utf8, or none for the bytes`);
    }
    const bytes = await bytesAt(file, 0, file.size, signal);
    return encoding === undefined ? bytes : new TextDecoder().decode(bytes);
  }
  return {
    read: async (length, position, options) => bytesAt(file, position, length, options?.signal),
    readFile: readFile as GenericFilehandle['readFile'],
    stat: async () => ({ size: file.size }),
    close: () => file.close(),
  };
}

/** Two kinds of failure: operating errors, which are expected, typed and named by errno; and bugs, which are broken claims. */

/** The errno words that Quire uses. */
export type Errno =
  | 'EINVAL'
  | 'ENOENT'
  | 'EIO'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'EAGAIN'
  | 'EBUSY'
  | 'EEXIST'
  | 'EBADF'
  | 'EFBIG'
  | 'EROFS'
  | 'EOPNOTSUPP'
  | 'EOVERFLOW'
  | 'EILSEQ';

/** An operating error: bad input, a failing device, no memory left. `message` is one line fit for a user. */
export class QuireError extends Error {
  override readonly name = 'QuireError';
  readonly code: Errno;
  constructor(code: Errno, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Bad input in a file: `FILE:LINE: what was found, what was expected`.
 * `line` counts from 1; 0 means that the whole file is meant.
 */
export class InputError extends QuireError {
  readonly file: string;
  readonly line: number;
  constructor(file: string, line: number, what: string, options?: { cause?: unknown }) {
    super('EINVAL', line > 0 ? `${file}:${line}: ${what}` : `${file}: ${what}`, options);
    this.file = file;
    this.line = line;
  }
}

/** A broken claim about our own state: never caught inside src/. */
export class Bug extends Error {
  override readonly name = 'Bug';
}

/** A claim that always holds. `claim` is a constant text: building one costs more than the check. */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new Bug(claim);
}

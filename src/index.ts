/** The public names of the package, listed one by one. */
export { type Errno, InputError, QuireError } from './base/errors.ts';

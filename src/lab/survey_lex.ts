/**
 * C as tokens, as far as a survey needs them: comments go, texts and numbers become one token each, directives get marks at
 * both ends. Any bytes give tokens: what is no C gives tokens without sense, in one pass over the text.
 */

/** Where a directive begins, and where its line ends. */
export const DIRECTIVE = '\n#';
export const DIRECTIVE_END = '\n';
/** A brace in the first column: in the kernel's style it opens or closes what stands at file scope. */
export const OPEN_FIRST = '\n{';
export const CLOSE_FIRST = '\n}';
export const TEXT = '""';
export const NUMBER = '0';

export const isOpen = (token: string): boolean => token === '{' || token === OPEN_FIRST;
export const isClose = (token: string): boolean => token === '}' || token === CLOSE_FIRST;

/** 1: begins a name; 2: a digit. */
const classes = new Uint8Array(256);
for (let c = 0; c < 128; c++) {
  const text = String.fromCharCode(c);
  if (/[A-Za-z_$]/.test(text)) classes[c] = 1;
  else if (/\d/.test(text)) classes[c] = 2;
}
const punctuators = Array.from({ length: 256 }, (_, c) => String.fromCharCode(c));

export const isName = (token: string): boolean => classes[token.charCodeAt(0) & 255] === 1;

const NEWLINE = 10;
const BACKSLASH = 92;

/** The tokens of `source`, whose characters are bytes (latin1). */
export function tokens(source: string): string[] {
  const out: string[] = [];
  const end = source.length;
  let at = 0;
  /** Nothing but blanks and comments so far on this line. */
  let fresh = true;
  let inDirective = false;
  while (at < end) {
    const c = source.charCodeAt(at) & 255;
    if (c === NEWLINE) {
      if (inDirective) out.push(DIRECTIVE_END);
      inDirective = false;
      fresh = true;
      at++;
    } else if (c <= 32) {
      at++;
    } else if (classes[c] === 1) {
      const from = at++;
      while (classes[source.charCodeAt(at) & 255] !== 0 && at < end) at++;
      out.push(source.slice(from, at));
      fresh = false;
    } else if (classes[c] === 2) {
      while (at < end && (classes[source.charCodeAt(at) & 255] !== 0 || source.charCodeAt(at) === 46)) at++;
      out.push(NUMBER);
      fresh = false;
    } else if (c === 47 && source.charCodeAt(at + 1) === 42) {
      const close = source.indexOf('*/', at + 2);
      at = close < 0 ? end : close + 2;
    } else if (c === 47 && source.charCodeAt(at + 1) === 47) {
      at = lineEnd(source, at);
    } else if (c === 34 || c === 39) {
      at = textEnd(source, at, c);
      out.push(TEXT);
      fresh = false;
    } else if (c === BACKSLASH) {
      at++;
      if (source.charCodeAt(at) === 13) at++;
      if (source.charCodeAt(at) === NEWLINE) at++;
    } else if (c === 35 && fresh) {
      out.push(DIRECTIVE);
      inDirective = true;
      fresh = false;
      at++;
    } else if (c === 45 && source.charCodeAt(at + 1) === 62) {
      out.push('->');
      fresh = false;
      at += 2;
    } else {
      const first = !inDirective && (at === 0 || source.charCodeAt(at - 1) === NEWLINE);
      if (first && c === 123) out.push(OPEN_FIRST);
      else if (first && c === 125) out.push(CLOSE_FIRST);
      else out.push(punctuators[c]!);
      fresh = false;
      at++;
    }
  }
  if (inDirective) out.push(DIRECTIVE_END);
  return out;
}

/** The end of the line that `at` is in; a backslash joins the next line to it. */
function lineEnd(source: string, at: number): number {
  for (;;) {
    const newline = source.indexOf('\n', at);
    if (newline < 0) return source.length;
    const before = source.charCodeAt(newline - 1) === 13 ? newline - 2 : newline - 1;
    if (source.charCodeAt(before) !== BACKSLASH) return newline;
    at = newline + 1;
  }
}

/** Behind the text or character that begins at `at`. One that is not closed ends with its line. */
function textEnd(source: string, at: number, quote: number): number {
  for (at++; at < source.length; at++) {
    const c = source.charCodeAt(at);
    if (c === quote) return at + 1;
    if (c === NEWLINE) return at;
    if (c === BACKSLASH) at++;
  }
  return source.length;
}

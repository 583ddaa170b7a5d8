/** Text into HTML. All that a recording names (its files, itself) passes through here. */

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For text and for attributes in quotes. Control characters, which HTML does not allow, become U+FFFD. */
export const escapeHtml = (text: string): string =>
  text.replace(/\p{Cc}|\p{Cs}/gu, '\ufffd').replace(/[&<>"']/g, (c) => entities[c]);

/** A JSON value inside a script element: nothing in it can end the element. */
export const scriptJson = (value: unknown): string => JSON.stringify(value).replaceAll('<', '\\u003c');

/** A table: headings, and rows whose first `labels` cells are row headings. Cells and headings are HTML. */
export function htmlTable(
  caption: string,
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  labels = 1,
): string {
  const head = headings.map((h) => `<th scope="col">${h}</th>`).join('');
  const body = rows
    .map(
      (cells) =>
        `<tr>${cells.map((c, i) => (i < labels ? `<th scope="row">${c}</th>` : `<td>${c}</td>`)).join('')}</tr>`,
    )
    .join('\n');
  return `<table><caption>${caption}</caption><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>\n`;
}

/**
 * One file of C: what it does with struct page and struct folio. No compiler: a name is a page where the innermost
 * declaration of it in sight says `struct page *`, so what a macro's parameter or an unseen header declares stays unknown.
 * A field behind a member or a call (`vmf->page->index`, `get_it()->lru`) is kept back until all files are read: it counts
 * when every declaration of that name in the tree agrees.
 */
import { CLOSE_FIRST, DIRECTIVE, DIRECTIVE_END, isClose, isName, isOpen, OPEN_FIRST, tokens } from './survey_lex.ts';
import {
  type Figures,
  givesFolio,
  givesPage,
  largeFolioCalls,
  leavingFields,
  noFigures,
  pageApi,
} from './survey_words.ts';

/** What a name stands for. */
export const NOTHING = 0;
export const PAGE = 1;
export const FOLIO = 2;
export const OTHER = 4;

export interface Operations {
  readonly name: string;
  /** Method and the function that it is set to. */
  readonly methods: readonly (readonly [method: string, value: string])[];
}

/** What waits for the types of the whole tree: a leaving field behind a member or a call. */
export interface Deferred {
  /** `member`, `array[]` or `function()`. */
  readonly behind: string;
  /** The member with its struct, `vm_fault.page`, where the variable before it is known. */
  readonly of: string | null;
  readonly field: 'mapping' | 'index' | 'lru' | 'private';
}

export interface Scanned {
  readonly figures: Figures;
  /** Calls by name of function: page-style ones, and those that allow large folios. */
  readonly calls: Map<string, number>;
  readonly operations: Operations[];
  readonly deferred: Deferred[];
}

/** Types that members and functions were declared with, over all files: PAGE, FOLIO and OTHER, or-ed. */
export type TreeTypes = Map<string, number>;

/** Looking further than so many tokens for the other end of a bracket is given up. */
const REACH_MAX = 2000;
const qualifiers = new Set(['const', 'volatile', '__rcu', '__user', '__iomem', '__percpu', '__force', 'restrict']);
const noCall = new Set(['return', 'sizeof', 'typeof', '__typeof__', 'if', 'while', 'for', 'switch', 'case', 'else']);
const folioWord = /(?:^|_)folios?(?:_|$)/;
const ownFigures = new Set(['page_folio', 'folio_page', 'compound_head']);

/** A string of its own, that does not keep the file's text alive. */
const own = (text: string): string => Buffer.from(text, 'latin1').toString('latin1');

export function scan(source: string, types: TreeTypes): Scanned {
  return new Scan(tokens(source), types).run();
}

interface Place {
  readonly depth: number;
  readonly paren: number;
}

class Scan {
  private readonly t: readonly string[];
  private readonly types: TreeTypes;
  private readonly figures = noFigures();
  private readonly calls = new Map<string, number>();
  private readonly operations: Operations[] = [];
  private readonly deferred: Deferred[] = [];

  private depth = 0;
  private paren = 0;
  /** For each brace that is open: the struct whose it is ('' without a name, null for other braces), and how many parentheses were open around it. */
  private readonly structs: (string | null)[] = [];
  private readonly parens: number[] = [];
  private inMacro = false;
  private structNext: string | null = null;
  private readonly ifs: Place[] = [];

  /** Variables in sight, the innermost last: name, what it is, how many stars, and the depth it lives at. */
  private readonly names: string[] = [];
  private readonly kinds: number[] = [];
  private readonly stars: number[] = [];
  private readonly depths: number[] = [];
  private readonly tags: string[] = [];

  /** The declaration that a comma may continue. */
  private declaring = NOTHING;
  private declaringTag = '';
  private declaringAt: Place = { depth: 0, paren: 0 };

  constructor(t: readonly string[], types: TreeTypes) {
    this.t = t;
    this.types = types;
  }

  run(): Scanned {
    const { t } = this;
    for (let i = 0; i < t.length; i++) {
      const token = t[i];
      switch (token) {
        case DIRECTIVE:
          i = this.directive(i);
          break;
        case DIRECTIVE_END:
          break;
        case '{':
        case OPEN_FIRST:
          this.open(token === OPEN_FIRST);
          break;
        case '}':
        case CLOSE_FIRST:
          this.close(token === CLOSE_FIRST);
          break;
        case '(':
          this.paren++;
          break;
        case ')':
          if (this.paren > 0) this.paren--;
          break;
        case ';':
          if (this.paren === 0) {
            this.declaring = NOTHING;
            this.structNext = null;
            if (this.depth === 0 && !this.inMacro) this.forget(0);
          }
          break;
        case ',':
          if (
            this.declaring !== NOTHING &&
            this.paren === 0 &&
            this.declaringAt.paren === 0 &&
            this.depth === this.declaringAt.depth
          )
            this.declarator(i + 1);
          break;
        case '->':
        case '.':
          this.field(i);
          break;
        case 'struct':
        case 'union':
          this.type(i);
          break;
        default:
          if (t[i + 1] === '(' && isName(token!)) this.call(i);
      }
    }
    return { figures: this.figures, calls: this.calls, operations: this.operations, deferred: this.deferred };
  }

  private open(first: boolean): void {
    if (first && !this.inMacro) {
      this.depth = 0;
      this.paren = 0;
    }
    this.structs[this.depth] = this.structNext;
    this.parens[this.depth] = this.paren;
    this.structNext = null;
    this.depth++;
    this.paren = 0;
  }

  private close(first: boolean): void {
    this.declaring = NOTHING;
    if (first && !this.inMacro) this.depth = 0;
    else if (this.depth > 0) this.depth--;
    this.paren = this.depth === 0 ? 0 : (this.parens[this.depth] ?? 0);
    this.forget(this.depth);
  }

  /** Ends the variables that live deeper than `depth`. */
  private forget(depth: number): void {
    const { depths } = this;
    let n = depths.length;
    while (n > 0 && depths[n - 1]! > depth) n--;
    this.truncate(n);
  }

  private truncate(n: number): void {
    this.names.length = n;
    this.kinds.length = n;
    this.stars.length = n;
    this.depths.length = n;
    this.tags.length = n;
  }

  /** Of conditions both sides are read, each from the same depth; a macro's body is read as a place of its own. */
  private directive(at: number): number {
    const { t, ifs } = this;
    const word = t[at + 1];
    let end = at;
    while (end < t.length && t[end] !== DIRECTIVE_END) end++;
    if (word === 'if' || word === 'ifdef' || word === 'ifndef') ifs.push({ depth: this.depth, paren: this.paren });
    else if (word === 'endif') ifs.pop();
    else if (word === 'else' || word === 'elif') {
      const from = ifs.at(-1);
      if (from !== undefined) {
        // The first side may have closed what it found open: its braces are as they were.
        this.depth = from.depth;
        this.paren = from.paren;
        this.forget(this.depth + 1);
      }
    } else if (word === 'define') this.macro(at + 2, end);
    return end;
  }

  private macro(at: number, end: number): void {
    const inner = new Scan(this.t.slice(at + 1, end), this.types);
    inner.inMacro = true;
    const { figures, calls, deferred } = inner.run();
    for (const [figure, n] of Object.entries(figures)) this.figures[figure as keyof Figures] += n;
    for (const [name, n] of calls) this.calls.set(name, (this.calls.get(name) ?? 0) + n);
    this.deferred.push(...deferred);
  }

  /** `struct NAME …` at `i`: a body, a cast, or declarators. */
  private type(i: number): void {
    const { t } = this;
    const name = t[i + 1];
    if (name === undefined) return;
    if (isOpen(name) || isOpen(t[i + 2] ?? '')) {
      this.structNext = isOpen(name) ? '' : name;
      return;
    }
    if (!isName(name)) return;
    const kind = t[i] !== 'struct' ? OTHER : name === 'page' ? PAGE : name === 'folio' ? FOLIO : OTHER;
    if (t[i + 2] === ';') return; // Says only that there is one.
    if (kind === PAGE) this.figures.structPage++;
    else if (kind === FOLIO) this.figures.structFolio++;
    else if (name === 'address_space_operations') this.operationsAt(i + 2);
    this.declaring = kind;
    this.declaringTag = name;
    this.declaringAt = { depth: this.depth, paren: this.paren };
    const end = this.declarator(i + 2);
    const open = qualifiers.has(t[i - 1]!) ? i - 2 : i - 1;
    if (t[end] === ')' && t[open] === '(') this.cast(kind, open, end);
  }

  /** One declarator of the type in `declaring`. Gives the place behind its stars and name. */
  private declarator(at: number): number {
    const { t, declaring: kind } = this;
    let stars = 0;
    while (t[at] === '*' || qualifiers.has(t[at]!)) {
      if (t[at] === '*') stars++;
      at++;
    }
    const name = t[at];
    if (name === undefined || !isName(name)) return at;
    const next = t[at + 1];
    if (next === '[') stars++;
    const struct = this.depth > 0 && this.paren === 0 ? this.structs[this.depth - 1] : null;
    if (next === '(') {
      if (stars > 0 && this.depth === 0 && this.paren === 0) this.note(`${name}()`, stars === 1 ? kind : OTHER);
    } else if (typeof struct === 'string') {
      if (stars === 1 || stars === 2) {
        const member = stars === 2 ? `${name}[]` : name;
        this.note(member, kind);
        if (struct !== '') this.note(`${struct}.${member}`, kind);
      }
    } else {
      this.names.push(name);
      this.kinds.push(kind);
      this.stars.push(stars);
      this.tags.push(this.declaringTag);
      this.depths.push(this.depth + (this.paren > 0 ? 1 : 0));
    }
    return at + 1;
  }

  /** Of members only those whose name tells of pages are kept: the files that declare others are not all read. */
  private note(name: string, kind: number): void {
    const known = this.types.get(name);
    if (known !== undefined) this.types.set(name, known | kind);
    else if (kind !== OTHER || /page|folio/.test(name)) this.types.set(own(name), kind);
  }

  /** `(struct folio *)page`, `(struct page *)folio`: `open` and `close` are the places of the brackets. */
  private cast(kind: number, open: number, close: number): void {
    const { t } = this;
    const before = t[open - 1];
    if ((kind !== PAGE && kind !== FOLIO) || t[close - 1] !== '*') return;
    if (before !== undefined && isName(before) && before !== 'return') return;
    const operand = t[close + 1] === '&' ? close + 2 : close + 1;
    const of = this.variable(t[operand] ?? '', 1);
    const plain = t[operand + 1] !== '->' && t[operand + 1] !== '.' && t[operand + 1] !== '[';
    if (plain && of === (kind === PAGE ? FOLIO : PAGE)) this.figures.casts++;
  }

  /** What a variable with so many stars is. */
  private variable(name: string, stars: number): number {
    const { names } = this;
    for (let n = names.length - 1; n >= 0; n--)
      if (names[n] === name) return this.stars[n] === stars ? this.kinds[n]! : OTHER;
    return NOTHING;
  }

  /** `BASE->NAME` or `BASE.NAME`, `at` the place of the arrow or dot. */
  private field(at: number): void {
    const { t, figures } = this;
    const name = t[at + 1];
    if (name === undefined || !isName(name)) return;
    const base = this.base(at - 1, t[at] === '->');
    const leaving = leavingFields.get(name);
    if (base === PAGE) {
      if (leaving) figures[leaving]++;
      else if (name === 'compound_head') figures.compoundHead++;
      else figures.otherFields++;
    } else if (base === FOLIO) {
      // A folio's first page, by its place and not by folio_page(): a cast in other words.
      if (name === 'page') figures.casts++;
      else figures.folioFields++;
    } else if (typeof base === 'string' && leaving)
      this.deferred.push({ behind: own(base), of: this.typed(at - 1, base), field: leaving });
  }

  /** `vm_fault.page` of `vmf->page`, whose last token is at `end`. */
  private typed(end: number, member: string): string | null {
    const { t } = this;
    const at = t[end] === ']' ? this.back(end, '[', ']') - 1 : end;
    const arrow = t[at - 1] === '->';
    if (t[end] === ')' || (!arrow && t[at - 1] !== '.') || t[at - 3] === '->' || t[at - 3] === '.') return null;
    const { names } = this;
    for (let n = names.length - 1; n >= 0; n--)
      if (names[n] === t[at - 2]) return this.stars[n] === (arrow ? 1 : 0) ? own(`${this.tags[n]}.${member}`) : null;
    return null;
  }

  /** What stands before an arrow or dot that `end` is the last token of: what it is, or the name that it depends on. */
  private base(end: number, arrow: boolean): number | string {
    const { t } = this;
    const last = t[end];
    if (last === undefined) return NOTHING;
    if (last === ')') return arrow ? this.bracketed(end) : NOTHING;
    if (last === ']') {
      const from = this.back(end, '[', ']') - 1;
      const name = t[from];
      if (name === undefined || !isName(name)) return NOTHING;
      if (t[from - 1] === '->' || t[from - 1] === '.') return arrow ? `${name}[]` : NOTHING;
      return this.variable(name, arrow ? 2 : 1);
    }
    if (!isName(last)) return NOTHING;
    const before = t[end - 1];
    if (before === '->' || before === '.') {
      if (arrow) return last;
      // folio->page.lru
      return last === 'page' && before === '->' && this.variable(t[end - 2] ?? '', 1) === FOLIO ? PAGE : NOTHING;
    }
    return this.variable(last, arrow ? 1 : 0);
  }

  /** What `f(…)` gives, or `(…)` is; `end` is the place of the closing bracket. */
  private bracketed(end: number): number | string {
    const { t } = this;
    const open = this.back(end, '(', ')');
    if (open < 0) return NOTHING;
    const name = t[open - 1];
    if (name !== undefined && isName(name) && !noCall.has(name)) {
      if (givesPage.has(name)) return PAGE;
      if (givesFolio.has(name)) return FOLIO;
      return t[open - 2] === '->' || t[open - 2] === '.' ? NOTHING : `${name}()`;
    }
    const first = t[open + 1];
    if (first === '*' && open + 3 === end) return this.variable(t[open + 2]!, 2);
    if (first === '(' && t[open + 2] === 'struct' && t[open + 4] === '*' && t[open + 5] === ')')
      return t[open + 3] === 'page' ? PAGE : t[open + 3] === 'folio' ? FOLIO : OTHER;
    if (isName(first!) && (open + 2 === end || t[open + 2] === '+' || t[open + 2] === '-'))
      return this.variable(first!, 1);
    return NOTHING;
  }

  /** The place of the bracket that the one at `end` closes, or -1. */
  private back(end: number, open: string, close: string): number {
    const { t } = this;
    let n = 0;
    for (let i = end; i >= 0 && end - i < REACH_MAX; i--) {
      if (t[i] === close) n++;
      else if (t[i] === open && --n === 0) return i;
    }
    return -1;
  }

  /** `NAME(` at `i`. At file scope, outside of a macro, it is a declaration or the begin of a function. */
  private call(i: number): void {
    const { t, figures } = this;
    const name = t[i];
    const before = t[i - 1];
    if ((this.depth === 0 && !this.inMacro) || before === '->' || before === '.') return;
    if (pageApi.has(name!)) {
      figures.oldApi++;
      this.count(name!);
    } else if (ownFigures.has(name!)) {
      if (name === 'page_folio') figures.pageFolio++;
      else if (name === 'folio_page') figures.folioPage++;
      else figures.compoundHead++;
    } else if (folioWord.test(name!)) figures.folioApi++;
    if (largeFolioCalls.has(name!)) this.count(name!);
    if (name === 'container_of' || (name!.startsWith('list_') && name!.includes('entry'))) this.listEntry(i + 1);
  }

  private count(name: string): void {
    const n = this.calls.get(name);
    if (n === undefined) this.calls.set(own(name), 1);
    else this.calls.set(name, n + 1);
  }

  /** `list_for_each_entry(page, &list, lru)`, `list_first_entry(&list, struct page, lru)`: the field's name without an arrow. */
  private listEntry(open: number): void {
    const { t, figures } = this;
    let depth = 0;
    let ofPage = this.variable(t[open + 1] ?? '', 1) === PAGE && t[open + 2] === ',';
    for (let i = open; i < t.length && i < open + REACH_MAX; i++) {
      if (t[i] === '(') depth++;
      else if (t[i] === 'struct' && depth === 1 && t[i + 1] === 'page' && t[i + 2] === ',') ofPage = true;
      else if (t[i] === ')' && --depth === 0) {
        const leaving = leavingFields.get(t[i - 1]!);
        if (ofPage && t[i - 2] === ',' && leaving) figures[leaving]++;
        return;
      }
    }
  }

  /** `NAME = { .method = function, … }` at `at`. */
  private operationsAt(at: number): void {
    const { t } = this;
    const name = t[at];
    let i = at + 1;
    if (t[i] === '[') while (i < t.length && t[i++] !== ']');
    // An attribute may stand between the name and its value.
    for (let n = 0; n < 8 && t[i] !== '=' && t[i] !== ';' && i < t.length; n++) i++;
    if (name === undefined || !isName(name) || t[i] !== '=' || !isOpen(t[i + 1] ?? '')) return;
    const methods: (readonly [string, string])[] = [];
    let depth = 0;
    for (const end = Math.min(t.length, ++i + REACH_MAX); i < end; i++) {
      if (isOpen(t[i]!)) depth++;
      else if (isClose(t[i]!)) {
        if (--depth === 0) break;
      } else if (t[i] === '.' && t[i + 2] === '=' && isName(t[i + 1]!) && isName(t[i + 3] ?? ''))
        methods.push([own(t[i + 1]!), own(t[i + 3]!)]);
    }
    this.operations.push({ name: own(name), methods });
  }
}

"use strict";
// A scanner for JavaScript as far as completion and inspection need it: it tells names from
// strings, comments, templates and regular expressions, and which brackets belong together. It
// never fails; what can't be JavaScript gives odd tokens.

const { charAt, exec, includes, pop, push, slice } = require("intrinsics");

const SPACE = /[\s\ufeff]+/y;
const COMMENT = /\/\/[^\n\r\u2028\u2029]*|\/\*[^]*?\*\//y;
const NAME = /#?[\p{ID_Start}$_](?:[\p{ID_Continue}$\u200c\u200d])*/uy;
const NUMBER = /(?:0[xXoObB][\da-fA-F_]+n?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?n?)/y;
const STRING = /'(?:[^'\\\n]|\\[^])*'|"(?:[^"\\\n]|\\[^])*"/y;
const REGEX = /\/(?![*/])(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const TEMPLATE_TEXT = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;
const OPERATOR = /\?\.(?!\d)|\.\.\.|=>|[-+*%&|^!=<>?:,;~@]+|[^]/y;

/** Words after which an expression begins, so that `/` begins a regular expression. */
const PREFIXES = ["return", "typeof", "case", "do", "else", "in", "instanceof", "new", "of",
  "throw", "void", "delete", "await", "yield", "extends", "default"];
const KEYWORDS = ["async", "await", "break", "case", "catch", "class", "const", "continue",
  "debugger", "default", "delete", "do", "else", "export", "extends", "false", "finally", "for",
  "function", "if", "import", "in", "instanceof", "let", "new", "null", "of", "return", "static",
  "super", "switch", "this", "throw", "true", "try", "typeof", "undefined", "var", "void",
  "while", "with", "yield"];
const CLOSES = { __proto__: null, ")": "(", "]": "[", "}": "{" };
const wordIn = (words) => {
  const set = { __proto__: null };
  for (let i = 0; i < words.length; i++) set[words[i]] = true;
  return (word) => word in set;
};
const isPrefix = wordIn(PREFIXES);

/** What a pattern matches at a place, or undefined. */
function match(pattern, code, index) {
  pattern.lastIndex = index;
  return exec(pattern, code)?.[0];
}

/** Whether a value may end with this token, so that what follows continues it. */
function endsValue(token) {
  if (token === undefined) return false;
  if (token.type === "name") return !isPrefix(token.text);
  return token.type !== "operator" && token.type !== "open";
}

class Scanner {
  code; // as all of them, defined: assigned, it would ask Object.prototype
  tokens = [];
  unclosed = []; // indices of tokens that open a bracket or a template
  state = "code";
  stateStart = 0;

  constructor(code) {
    this.code = code;
    let index = 0;
    while (index < code.length && this.state === "code") index = this.#step(index);
  }

  #add(type, start, text, open) {
    push(this.tokens, { type, start, end: start + text.length, text, open });
    return start + text.length;
  }

  /** The code ends inside of something that isn't code. */
  #stop(state, start) {
    this.state = state;
    this.stateStart = start;
    return this.code.length;
  }

  #step(index) {
    const { code, tokens } = this;
    const skipped = match(SPACE, code, index) ?? match(COMMENT, code, index);
    if (skipped !== undefined) return this.#skip(skipped, index);
    const char = charAt(code, index);
    if (char === "/" && charAt(code, index + 1) === "*") return this.#stop("comment", index);
    if (char === '"' || char === "'") return this.#string(index, char);
    if (char === "`") return this.#template(index, undefined);
    const name = match(NAME, code, index);
    if (name !== undefined) return this.#add("name", index, name);
    const number = match(NUMBER, code, index);
    if (number !== undefined) return this.#add("number", index, number);
    if (char === "/" && !endsValue(tokens[tokens.length - 1])) return this.#regex(index);
    if (includes("([{", char)) return this.#open(index, char);
    if (includes(")]}", char)) return this.#close(index, char);
    return this.#add("operator", index, match(OPERATOR, code, index));
  }

  #skip(text, index) {
    const end = index + text.length;
    const isLine = charAt(text, 0) === "/" && charAt(text, 1) === "/";
    return isLine && end === this.code.length ? this.#stop("comment", index) : end;
  }

  #string(index, quote) {
    const text = match(STRING, this.code, index);
    if (text !== undefined) return this.#add("string", index, text);
    const line = match(/[^\n]*/y, this.code, index);
    if (index + line.length >= this.code.length) return this.#stop("string", index);
    return this.#add("operator", index, quote); // a string that its line cuts off
  }

  #regex(index) {
    const text = match(REGEX, this.code, index);
    if (text !== undefined) return this.#add("regex", index, text);
    const line = match(/[^\n]*/y, this.code, index);
    if (index + line.length >= this.code.length) return this.#stop("regex", index);
    return this.#add("operator", index, "/");
  }

  /** The text of a template from its backtick or from the end of a substitution. */
  #template(index, open) {
    const { code, tokens, unclosed } = this;
    const end = index + 1 + match(TEMPLATE_TEXT, code, index + 1).length;
    if (charAt(code, end) === "`") {
      const start = open === undefined ? index : tokens[open].start;
      return this.#add("template", start, slice(code, start, end + 1), open);
    }
    if (end >= code.length) return this.#stop("template", index);
    push(unclosed, open ?? tokens.length);
    if (open === undefined) this.#add("open", index, "`");
    return end + 2;
  }

  #open(index, char) {
    push(this.unclosed, this.tokens.length);
    return this.#add("open", index, char);
  }

  #close(index, char) {
    const { tokens, unclosed } = this;
    const open = unclosed[unclosed.length - 1];
    const opener = tokens[open]?.text;
    if (opener === "`" && char === "}") return this.#template(index, pop(unclosed));
    if (opener !== CLOSES[char]) return this.#add("operator", index, char);
    return this.#add("close", index, char, pop(unclosed));
  }
}

/**
 * Takes code apart.
 * @param {string} code
 * @returns {{tokens: object[], unclosed: number[], state: string, stateStart: number}} state:
 *   code, or string, template, comment, regex when the code ends inside of one
 */
exports.scan = (code) => new Scanner(code);
exports.endsValue = endsValue;
exports.isKeyword = wordIn(KEYWORDS);
exports.KEYWORDS = KEYWORDS;

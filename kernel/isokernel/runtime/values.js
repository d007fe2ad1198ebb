"use strict";
// What an expression means, found out without running any of the user's code: getters, calls
// and proxy traps end the search.

const { Symbol, endsWith, getDescriptor, getPrototype, hasOwn, includes, push, slice } =
  require("intrinsics");
const { endsValue, isKeyword } = require("tokens");
const { getters } = require("web/index");
const { lexicalValue, proxyDetails } = host;

const PROTOTYPES = {
  __proto__: null,
  string: String.prototype,
  number: Number.prototype,
  boolean: Boolean.prototype,
  bigint: BigInt.prototype,
  symbol: Symbol.prototype,
};
const LITERALS = { __proto__: null, true: true, false: false, undefined, NaN, Infinity };
const REGEX = /x/;
const CHAIN = 200; // prototypes up to which a chain is followed

/** Whether a global is one of ours that is not loaded yet: then its getter only loads it. */
const isLazy = (name) =>
  name in getters && getDescriptor(globalThis, name)?.get === getters[name];

/** The objects in which a property is looked for: the value, then its prototypes. */
function holders(value) {
  const list = [];
  const prototype = PROTOTYPES[typeof value];
  let holder = prototype ?? value;
  if (value === null || value === undefined) return list;
  while (holder !== null && list.length < CHAIN && proxyDetails(holder) === undefined) {
    push(list, holder);
    holder = getPrototype(holder);
  }
  return list;
}

/** A property's value as { value }, or undefined when it isn't plain data. */
function member(value, key) {
  if (typeof value === "string") {
    if (key === "length") return { value: value.length };
    if (+key < value.length) return { value: value[key] };
  }
  const list = holders(value);
  for (let i = 0; i < list.length; i++) {
    const descriptor = getDescriptor(list[i], key);
    if (descriptor === undefined) continue;
    if (hasOwn(descriptor, "value")) return { value: descriptor.value };
    return list[i] === globalThis && isLazy(key) ? { value: globalThis[key] } : undefined;
  }
  return undefined;
}

/** What a name means at the top level of a cell. */
function root(name) {
  if (name === "this") return { value: globalThis };
  if (name in LITERALS) return { value: LITERALS[name] };
  if (isKeyword(name)) return undefined;
  const lexical = lexicalValue(name);
  return lexical === undefined ? member(globalThis, name) : { value: lexical[0] };
}

const isDot = (token) => token?.text === "." || token?.text === "?.";

/** A string literal's value; undefined for those with escapes, which are rare as keys. */
function plainString(text) {
  const inner = slice(text, 1, -1);
  return includes(inner, "\\") ? undefined : { value: inner };
}

const number = (text) => ({ value: endsWith(text, "n") ? 0n : +text });

function ofName(tokens, last) {
  const { text } = tokens[last];
  if (!isDot(tokens[last - 1])) return { first: last, found: root(text) };
  const base = expression(tokens, last - 2);
  const found = base.found && member(base.found.value, text);
  return { first: base.first, found };
}

function inParentheses(tokens, last) {
  const { open } = tokens[last];
  if (endsValue(tokens[open - 1])) return { first: open, found: undefined }; // a call
  const inner = expression(tokens, last - 1);
  return { first: open, found: inner.first === open + 1 ? inner.found : undefined };
}

function inBrackets(tokens, last) {
  const { open } = tokens[last];
  const isOptional = tokens[open - 1]?.text === "?.";
  if (!isOptional && !endsValue(tokens[open - 1])) return { first: open, found: { value: [] } };
  const base = expression(tokens, isOptional ? open - 2 : open - 1);
  const inner = expression(tokens, last - 1);
  if (base.found === undefined || inner.found === undefined || inner.first !== open + 1) {
    return { first: base.first, found: undefined };
  }
  const key = inner.found.value;
  const isKey = typeof key === "string" || typeof key === "number" || typeof key === "symbol";
  return { first: base.first, found: isKey ? member(base.found.value, key) : undefined };
}

/**
 * The value of the expression that ends with a token: names, members and literals.
 * @param {object[]} tokens
 * @param {number} last the token's index
 * @returns {{first: number, found: {value: unknown} | undefined}} where the expression begins,
 *   and its value if it is known without running code
 */
function expression(tokens, last) {
  const token = tokens[last];
  switch (token?.type) {
    case "name":
      return ofName(tokens, last);
    case "string":
      return { first: last, found: plainString(token.text) };
    case "number":
      return { first: last, found: number(token.text) };
    case "regex":
      return { first: last, found: { value: REGEX } };
    case "template": {
      const first = token.open ?? last;
      const isTagged = endsValue(tokens[first - 1]);
      // All strings have the same members; the text doesn't matter.
      return { first, found: isTagged ? undefined : { value: "" } };
    }
    case "close":
      if (token.text === ")") return inParentheses(tokens, last);
      if (token.text === "]") return inBrackets(tokens, last);
      return { first: token.open, found: undefined };
    default:
      return { first: last, found: undefined };
  }
}

exports.expression = expression;
exports.holders = holders;
exports.isDot = isDot;
exports.isLazy = isLazy;

"use strict";
// Completion: what may stand at the cursor, from the live values. None of the user's code runs.

const { Set, Symbol, exec, functionToString, getDescriptor, getNames, hasOwn, ownValue, push,
  replace, setAdd, setHas, slice, sort, startsWith, toJson } = require("intrinsics");
const { KEYWORDS, endsValue, isKeyword, scan } = require("tokens");
const { expression, holders, isDot, isLazy } = require("values");
const { lexicalNames, lexicalValue, namedProperties, proxyDetails } = host;

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;
const NO_INDEX = /^(?!\d+$)/;
const TAG = Symbol.toStringTag;
const LAZY_VALUES = { __proto__: null, crypto: "variable", performance: "variable" };
const ODD = /^__/; // __proto__ and its kind are offered only to those who ask for them
const SKIP_SYMBOLS = 16; // v8::PropertyFilter
const MATCHES_MAX = 1000;
const SNIPPETS_FROM = 4; // characters of "display" after which its shorthands are offered

/** The kind of a value, in the words that front ends have icons for. */
function kindOf(value, plain) {
  if (typeof value !== "function") {
    const isModule = typeof value === "object" && value !== null &&
      proxyDetails(value) === undefined &&
      typeof ownValue(value, TAG) === "string" &&
      getDescriptor(value, "constructor") === undefined;
    return isModule ? "module" : plain;
  }
  if (proxyDetails(value) !== undefined) return "function";
  if (startsWith(functionToString(value), "class")) return "class";
  const prototype = getDescriptor(value, "prototype");
  return prototype?.writable === false ? "class" : "function";
}

/** Matches, each once, in the order in which they were found. */
class Matches {
  prefix;
  texts = [];
  types = [];
  #seen = new Set();

  constructor(prefix) {
    this.prefix = prefix;
  }

  /** Whether there are as many as anybody looks through. */
  get areMany() {
    return this.texts.length >= MATCHES_MAX;
  }

  add(text, type) {
    if (this.areMany || !startsWith(text, this.prefix) || setHas(this.#seen, text)) return;
    setAdd(this.#seen, text);
    push(this.texts, text);
    push(this.types, type);
  }

  wants(name) {
    return startsWith(name, this.prefix) && (exec(ODD, name) === null || this.prefix !== "");
  }
}

function kindOfProperty(holder, name, plain) {
  const descriptor = getDescriptor(holder, name);
  if (descriptor === undefined) return plain;
  if (hasOwn(descriptor, "value")) return kindOf(descriptor.value, plain);
  if (holder !== globalThis || !isLazy(name)) return plain;
  return exec(/^[A-Z]/, name) === null ? LAZY_VALUES[name] ?? "function" : "class";
}

/** A value's properties: its own first, then those of its prototypes. */
function addMembers(matches, value, isWanted, text = (name) => name) {
  const list = holders(value);
  for (let i = 0; i < list.length; i++) {
    // Indices are no members, and a long list has many of them.
    const names = namedProperties(list[i], SKIP_SYMBOLS) ?? [];
    for (let k = 0; k < names.length && !matches.areMany; k++) {
      if (!matches.wants(names[k]) || exec(isWanted, names[k]) === null) continue;
      matches.add(text(names[k]), kindOfProperty(list[i], names[k], "property"));
    }
  }
}

/** Names that the code itself uses: they may be declared in this very cell. */
function addCodeNames(matches, code, cursor) {
  const { tokens } = scan(code);
  for (let i = 0; i < tokens.length; i++) {
    const { type, text, start, end } = tokens[i];
    const isAtCursor = start <= cursor && cursor <= end;
    if (type !== "name" || isAtCursor || isKeyword(text) || isDot(tokens[i - 1])) continue;
    if (text[0] !== "#") matches.add(text, "variable");
  }
}

function addGlobals(matches) {
  const names = sort(lexicalNames());
  for (let i = 0; i < names.length; i++) {
    if (!matches.wants(names[i])) continue;
    const value = lexicalValue(names[i]);
    matches.add(names[i], value === undefined ? "variable" : kindOf(value[0], "variable"));
  }
  const list = holders(globalThis);
  for (let i = 0; i < list.length; i++) {
    const own = sort(getNames(list[i]));
    for (let k = 0; k < own.length; k++) {
      if (!matches.wants(own[k]) || exec(IDENTIFIER, own[k]) === null) continue;
      matches.add(own[k], kindOfProperty(list[i], own[k], "variable"));
    }
  }
}

function addSnippets(matches) {
  const { globals, shorthands } = require("display");
  if (matches.prefix.length < SNIPPETS_FROM || !startsWith("display", matches.prefix)) return;
  if (ownValue(globalThis, "display") !== globals.display) return;
  for (let i = 0; i < shorthands.length; i++) matches.add(`display.${shorthands[i]}`, "snippet");
}

/** Members after a dot. */
function completeMember(tokens, dot, matches) {
  const { found } = expression(tokens, dot - 1);
  if (found !== undefined) addMembers(matches, found.value, IDENTIFIER);
}

/** Keys inside the quotes of `object["…`. */
function completeKey({ tokens, stateStart }, code, cursor) {
  const quote = code[stateStart];
  const matches = new Matches(slice(code, stateStart + 1, cursor));
  const bracket = tokens.length - 1;
  const isKey = tokens[bracket]?.text === "[";
  const base = tokens[bracket - 1]?.text === "?." ? bracket - 2 : bracket - 1;
  if (isKey && endsValue(tokens[base])) {
    const { found } = expression(tokens, base);
    const quoted = (name) => replace(slice(toJson(name), 1, -1), /\\?"|'/g, (mark) =>
      mark[mark.length - 1] === quote ? `\\${quote}` : mark[mark.length - 1]);
    if (found !== undefined) addMembers(matches, found.value, NO_INDEX, quoted);
  }
  return answer(matches, stateStart + 1, cursor);
}

function answer(matches, start, end) {
  return toJson({ matches: matches.texts, start, end, types: matches.types });
}

/**
 * Completes the code at the cursor.
 * @param {string} code
 * @param {number} cursor in UTF-16 units
 * @returns {string} JSON {matches, start, end, types}: what may replace start to end
 */
exports.complete = function complete(code, cursor) {
  const scanned = scan(slice(code, 0, cursor));
  const { tokens, state } = scanned;
  if (state === "string") return completeKey(scanned, code, cursor);
  const last = tokens[tokens.length - 1];
  if (state !== "code") return answer(new Matches(""), cursor, cursor);
  if (last?.end === cursor && last.type === "number") {
    return answer(new Matches(""), cursor, cursor);
  }
  const isTyping = last?.type === "name" && last.end === cursor;
  const matches = new Matches(isTyping ? last.text : "");
  const before = isTyping ? tokens.length - 2 : tokens.length - 1;
  const start = isTyping ? last.start : cursor;
  if (isDot(tokens[before])) {
    completeMember(tokens, before, matches);
    return answer(matches, start, cursor);
  }
  addCodeNames(matches, code, cursor);
  addGlobals(matches);
  for (let i = 0; i < KEYWORDS.length; i++) matches.add(KEYWORDS[i], "keyword");
  addSnippets(matches);
  return answer(matches, start, cursor);
};

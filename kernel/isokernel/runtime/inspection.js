"use strict";
// Inspection: what the name at the cursor stands for. None of the user's code runs.

const { charAt, exec, functionToString, join, ownValue, push, slice, sliceItems, startsWith, toJson } =
  require("intrinsics");
const { scan } = require("tokens");
const { expression } = require("values");
const { inspect: show } = require("text");
const { findComment, toMarkdown } = require("jsdoc");
const { constructorName, functionPlace, proxyDetails, written } = host;

const PREVIEW = [500, 5000]; // characters of a value, by level of detail
const SOURCE = 50000;
const NATIVE = /\{\s*\[native code\]\s*\}\s*$/;
const PLACEHOLDERS = ["a", "b", "c", "d", "e", "f", "g"];

const cut = (text, longest) =>
  text.length > longest ? `${slice(text, 0, longest)}…` : text;

/** The index of the name that the cursor touches, or -1. */
function nameAt(tokens, cursor) {
  for (let i = 0; i < tokens.length; i++) {
    const { type, start, end } = tokens[i];
    if (type === "name" && start <= cursor && cursor <= end) return i;
  }
  return -1;
}

/** The index of the token before the parenthesis that the cursor is in, or -1. */
function calleeAt(code, cursor) {
  const { tokens, unclosed } = scan(slice(code, 0, cursor));
  for (let i = unclosed.length - 1; i >= 0; i--) {
    const before = tokens[unclosed[i] - 1];
    if (tokens[unclosed[i]].text === "(" && before?.type === "name") return unclosed[i] - 1;
  }
  return -1;
}

/** What the code at the cursor means: { name, value }, or undefined. */
function subject(code, cursor) {
  const { tokens } = scan(code);
  const candidates = [nameAt(tokens, cursor), calleeAt(code, cursor)];
  for (let i = 0; i < candidates.length; i++) {
    const last = candidates[i];
    if (last < 0) continue;
    const { first, found } = expression(tokens, last);
    if (found === undefined) continue;
    const name = slice(code, tokens[first].start, tokens[last].end);
    return { name, last: tokens[last].text, value: found.value };
  }
  return undefined;
}

/** Where the parameters of a function stand in its source: [start, end]. */
function parametersIn(source) {
  const { tokens } = scan(source);
  let skip = 0;
  if (startsWith(source, "class")) {
    while (skip < tokens.length && tokens[skip].text !== "constructor") skip += 1;
  }
  for (let i = skip; i < tokens.length; i++) {
    if (tokens[i].text === "=>") return i > 0 ? [tokens[i - 1].start, tokens[i - 1].end] : [0, 0];
    if (tokens[i].text === "(") {
      for (let k = i + 1; k < tokens.length; k++) {
        if (tokens[k].open === i) return [tokens[i].end, tokens[k].start];
      }
    }
  }
  return [0, 0];
}

/**
 * The parameters of a function as the user wrote them. They are looked for in V8's text, as
 * types may have arrows and parentheses too; unless an arrow function's were moved there.
 */
function parameters(source, shown) {
  let { 0: start, 1: end } = parametersIn(source);
  const opens = charAt(source, start - 1) === "(";
  if (opens && (charAt(shown, start - 1) !== "(" || charAt(shown, end) !== ")")) {
    ({ 0: start, 1: end } = parametersIn(shown));
  }
  return slice(shown, start, end);
}

function nativeParameters(value) {
  const count = ownValue(value, "length");
  return count > 0 ? join(sliceItems(PLACEHOLDERS, 0, count), ", ") : "";
}

/** A function's source as the user wrote it: V8 has blanks in the place of types. */
function writtenSource(value, source) {
  const place = functionPlace(value);
  return place === undefined ? source : written(place[0], place[1], place[2], source);
}

/** Facts about a function: how it is called, and its source if there is one. */
function functionFacts(name, value) {
  const source = functionToString(value);
  const isNative = exec(NATIVE, source) !== null;
  const shown = isNative ? source : writtenSource(value, source);
  const isClass = startsWith(source, "class");
  const list = isNative ? nativeParameters(value) : parameters(source, shown);
  return {
    __proto__: null,
    signature: `${isClass ? "new " : ""}${name}(${list})`,
    source: isNative ? undefined : cut(shown, SOURCE),
  };
}

/** The name of a value's class, or of its type. */
function classOf(value) {
  if (value === null) return "null";
  if (typeof value !== "object" && typeof value !== "function") return typeof value;
  return proxyDetails(value) === undefined ? constructorName(value) : "Proxy";
}

function preview(value, detail) {
  try {
    return cut(show(value, { customInspect: false, depth: detail > 0 ? 4 : 2 }), PREVIEW[detail]);
  } catch {
    return "";
  }
}

const fence = (text) => `\`\`\`js\n${text}\n\`\`\``;

function bundleOf(facts) {
  const plain = [];
  const markdown = [];
  const add = (title, text, rich) => {
    if (text === undefined || text === "") return;
    const separator = text.length > 60 || exec(/\n/, text) !== null ? "\n" : " ";
    push(plain, `${title}:${separator}${text}`);
    push(markdown, rich);
  };
  add("Signature", facts.signature, fence(facts.signature));
  add("Docstring", facts.comment, facts.comment && toMarkdown(facts.comment));
  add("Type", facts.type, `*Type:* \`${facts.type}\``);
  add("Value", facts.value, fence(facts.value));
  add("Source", facts.source, fence(facts.source));
  return { "text/plain": join(plain, "\n"), "text/markdown": join(markdown, "\n\n") };
}

/**
 * Tells about the name at the cursor, or about the function whose call the cursor is in.
 * @param {string} code
 * @param {number} cursor in UTF-16 units
 * @param {number} detail 1 for the source text, too
 * @returns {string} JSON: a MIME bundle; "" when there is nothing to tell
 */
exports.inspect = function inspect(code, cursor, detail) {
  const found = subject(code, cursor);
  if (found === undefined) return "";
  const { name, last, value } = found;
  const facts = { __proto__: null, type: classOf(value) };
  if (typeof value === "function" && proxyDetails(value) === undefined) {
    const { signature, source } = functionFacts(name, value);
    facts.signature = signature;
    if (source !== undefined) facts.comment = findComment(last);
    if (detail > 0) facts.source = source;
  } else {
    facts.value = preview(value, detail > 0 ? 1 : 0);
    facts.comment = findComment(last);
  }
  return toJson(bundleOf(facts));
};

"use strict";
// MIME types (https://mimesniff.spec.whatwg.org/#understanding-mime-types).
const { charCode, exec, indexOf, replaceAll, slice, toLowerCase } = require("intrinsics");

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const QUOTABLE = /^[\t\x20-\x7e\x80-\xff]*$/;
const isBlank = (unit) => unit === 0x20 || unit === 0x09 || unit === 0x0a || unit === 0x0d;

function trimBlanks(text) {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(charCode(text, start))) start++;
  while (end > start && isBlank(charCode(text, end - 1))) end--;
  return slice(text, start, end);
}

/**
 * Parse a MIME type.
 *
 * @param {string} given
 * @returns {{type: string, subtype: string, parameters: string[][]} | null} null if it is none
 */
function parseType(given) {
  const text = trimBlanks(given);
  const slash = indexOf(text, "/");
  if (slash < 0) return null;
  let at = indexOf(text, ";", slash);
  if (at < 0) at = text.length;
  const type = slice(text, 0, slash);
  const subtype = trimBlanks(slice(text, slash + 1, at));
  if (exec(TOKEN, type) === null || exec(TOKEN, subtype) === null) return null;
  const parameters = [];
  while (at < text.length) at = parseParameter(text, at + 1, parameters);
  return { __proto__: null, type: toLowerCase(type), subtype: toLowerCase(subtype), parameters };
}

/** Adds a parameter that begins at a place; returns where the next `;` is. */
function parseParameter(text, from, parameters) {
  let at = from;
  while (at < text.length && isBlank(charCode(text, at))) at++;
  const begin = at;
  while (at < text.length && text[at] !== ";" && text[at] !== "=") at++;
  const name = toLowerCase(slice(text, begin, at));
  if (at >= text.length || text[at] === ";") return at;
  at++;
  let value;
  if (text[at] === '"') {
    ({ value, at } = quotedAt(text, at));
    while (at < text.length && text[at] !== ";") at++;
  } else {
    const start = at;
    while (at < text.length && text[at] !== ";") at++;
    let end = at;
    while (end > start && isBlank(charCode(text, end - 1))) end--;
    value = slice(text, start, end);
    if (value === "") return at;
  }
  const fits = exec(TOKEN, name) !== null && exec(QUOTABLE, value) !== null;
  if (fits && parameterOf({ parameters }, name) === undefined) {
    parameters[parameters.length] = [name, value];
  }
  return at;
}

function quotedAt(text, from) {
  let at = from + 1;
  let value = "";
  for (; at < text.length && text[at] !== '"'; at++) {
    if (text[at] === "\\" && at + 1 < text.length) at++;
    value += text[at];
  }
  return { value, at: at + 1 };
}

/** The value of a parameter; undefined if there is none. */
function parameterOf(type, name) {
  const { parameters } = type;
  for (let i = 0; i < parameters.length; i++) {
    if (parameters[i][0] === name) return parameters[i][1];
  }
  return undefined;
}

const essenceOf = (type) => `${type.type}/${type.subtype}`;

function serializeType(type) {
  let text = essenceOf(type);
  for (let i = 0; i < type.parameters.length; i++) {
    const { 0: name, 1: value } = type.parameters[i];
    const plain = exec(TOKEN, value) !== null;
    const quoted = plain ? value : `"${replaceAll(replaceAll(value, "\\", "\\\\"), '"', '\\"')}"`;
    text += `;${name}=${quoted}`;
  }
  return text;
}

/**
 * The MIME type of a message's headers, which may say it several times.
 *
 * @param {{key: string, value: string}[]} list headers
 * @returns {object | null} null if they have none
 */
function typeOfHeaders(list) {
  let found = null;
  let charset;
  for (let i = 0; i < list.length; i++) {
    if (list[i].key !== "content-type") continue;
    const values = splitValues(list[i].value);
    for (let k = 0; k < values.length; k++) {
      const type = parseType(values[k]);
      if (type === null || essenceOf(type) === "*/*") continue;
      const isSame = found !== null && essenceOf(found) === essenceOf(type);
      const own = parameterOf(type, "charset");
      if (!isSame) charset = own;
      else if (own === undefined && charset !== undefined) type.parameters[type.parameters.length] = ["charset", charset];
      found = type;
    }
  }
  return found;
}

/** What stands between the commas that are in no quotes. */
function splitValues(text) {
  const values = [];
  let from = 0;
  for (let at = 0; at <= text.length; at++) {
    if (text[at] === '"') {
      at = quotedAt(text, at).at - 1;
    } else if (at === text.length || text[at] === ",") {
      values[values.length] = slice(text, from, at);
      from = at + 1;
    }
  }
  if (from < text.length) values[values.length] = slice(text, from, text.length);
  return values;
}

module.exports = { essenceOf, parameterOf, parseType, serializeType, splitValues, typeOfHeaders };

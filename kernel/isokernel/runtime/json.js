"use strict";
// A value as JSON text, as JSON.stringify gives it, with what JSON.stringify doesn't tell: what
// of the value JSON has no form for, and where. What is too long is cut so that it stays JSON:
// head and tail are kept, and what is left out between them is counted.

const { charAt, charCode, exec, floor, getPrototype, indexOf, is, isArray, join, keys, mapGet, mapSet, max,
  ObjectPrototype, parse, push, slice, stringify } = require("intrinsics");
const { inspect } = require("text");
const { typeOf } = host;
const { Map } = globalThis;

const DEPTH_MAX = 100; // levels; readers of JSON give up at 200 (pydantic) to 1000 (Python)
const TOLD = 5; // places that are named
const TEXT_MAX = 20000; // characters of a value as text
const MARK = 40; // characters that say what is left out, about
const TRIES = 8;
// How JSON.stringify writes half of a surrogate pair: this and three digits. It escapes no other
// characters so, but those up to U+001F.
const ESCAPE = "\\ud";
const ESCAPE_LENGTH = 6;
const BYTES = { __proto__: null, Uint8Array: 1, Uint8ClampedArray: 1, ArrayBuffer: 1,
  SharedArrayBuffer: 1, DataView: 1 };
const WHOLE = { __proto__: null, Object: 1, Array: 1, Arguments: 1, NumberObject: 1,
  StringObject: 1, BooleanObject: 1, Proxy: 1 };
const NAME = /^[A-Za-z_$][\w$]*$/;

const TOO_DEEP = { __proto__: null };

/** A value's text; also when showing it runs code of the user's that throws. */
function textOf(value) {
  try {
    return cutText(inspect(value), TEXT_MAX);
  } catch {
    return `[${typeof value}]`;
  }
}

// Half of a surrogate pair is no character.
const isHigh = (text, i) => (charCode(text, i) & 0xfc00) === 0xd800;

/** A text of at most so many characters: its head and tail. */
function cutText(text, limit) {
  if (text.length <= limit) return text;
  const room = limit > MARK ? limit - MARK : 0;
  let head = room - (room >> 2);
  if (head > 0 && isHigh(text, head - 1)) head -= 1;
  let tail = text.length - (room >> 2);
  if (tail < text.length && isHigh(text, tail - 1)) tail += 1;
  return `${slice(text, 0, head)}… ${tail - head} characters …${slice(text, tail)}`;
}

/** What JSON makes of a value that it has no form for, and its name; undefined if it has one. */
function lossOf(value, brands) {
  switch (typeof value) {
    case "number":
      return value - value === 0 && !is(value, -0) ? undefined : is(value, -0) ? "-0" : `${value}`;
    case "function":
    case "symbol":
    case "bigint":
      return typeof value;
    case "object":
      break;
    default:
      return undefined;
  }
  if (value === null || isArray(value)) return undefined;
  const prototype = getPrototype(value);
  if (prototype === ObjectPrototype || prototype === null) return undefined;
  // Asking V8 costs microseconds: the answer is the same for all instances of a class.
  let brand = mapGet(brands, prototype);
  if (brand === undefined) {
    brand = typeOf(value);
    mapSet(brands, prototype, brand);
  }
  return brand in WHOLE ? undefined : brand;
}

/** The replacer of JSON.stringify that watches, and what it has found. */
function watcher() {
  const brands = new Map();
  const holders = [];
  const names = [];
  const found = { __proto__: null, places: [], count: 0 };

  // Above the value is the object that JSON.stringify puts it into; it has no name.
  function place(key) {
    let path = "$";
    for (let i = 1; i < holders.length; i++) {
      const name = i + 1 < names.length ? names[i + 1] : key;
      if (isArray(holders[i])) path += `[${name}]`;
      else path += exec(NAME, name) === null ? `[${stringify(cutText(name, 80))}]` : `.${name}`;
    }
    return path;
  }

  function note(key, what) {
    found.count += 1;
    if (found.places.length < TOLD) push(found.places, `${place(key)} (${what})`);
  }

  found.replace = function replace(key, value) {
    while (holders.length > 0 && holders[holders.length - 1] !== this) {
      holders.length -= 1;
      names.length -= 1;
    }
    if (holders.length === 0) push(holders, this), push(names, "");
    if (typeof value === "string" || typeof value === "boolean") return value;
    const loss = lossOf(value, brands);
    if (loss !== undefined) note(key, loss);
    else if (value === undefined && isArray(this)) note(key, "undefined");
    if (typeof value !== "object" || value === null) return value;
    if (loss in BYTES) return `[${loss} of ${sizeOf(value)} bytes]`;
    if (holders.length > DEPTH_MAX) throw TOO_DEEP;
    push(holders, value);
    push(names, key);
    return value;
  };
  return found;
}

function sizeOf(bytes) {
  try {
    return bytes.byteLength;
  } catch {
    return "many";
  }
}

const place = (places, count) =>
  join(places, ", ") + (count > places.length ? ` and ${count - places.length} more` : "");

/** Without the halves of surrogate pairs, which are no characters: they become U+FFFD. */
function wellFormed(json) {
  let at = indexOf(json, ESCAPE);
  if (at < 0) return json;
  let text = "";
  let from = 0;
  while (at >= 0) {
    let before = at;
    while (before > 0 && charAt(json, before - 1) === "\\") before -= 1;
    if ((at - before) % 2 === 0) {
      text += slice(json, from, at) + "\ufffd";
      from = at + ESCAPE_LENGTH;
    }
    at = indexOf(json, ESCAPE, at + 1);
  }
  return text + slice(json, from);
}

// -- cutting --------------------------------------------------------------------------------

/**
 * How many items from the beginning, or from the end, fit; the first one is cut if need be.
 * @returns {unknown[]} the items, in the order in which they were taken
 */
function take(count, at, limit, least) {
  const taken = [];
  let used = 0;
  while (taken.length < count) {
    const { item, size } = at(taken.length);
    used += size + 1;
    if (used > limit) {
      if (taken.length < least) push(taken, at(taken.length, max(limit - used + size, 0)).item);
      break;
    }
    push(taken, item);
  }
  return taken;
}

/** Plain data, cut to about so many characters of JSON. */
function fit(value, limit) {
  if (typeof value === "string") return cutText(value, max(limit - 2, 0));
  if (typeof value !== "object" || value === null) return value;
  const names = isArray(value) ? undefined : keys(value);
  const count = names === undefined ? value.length : names.length;
  if (limit <= 2 * MARK) return `… ${count} ${names === undefined ? "items" : "properties"} …`;
  const room = limit - MARK;
  const at = (i) => (index, short) => {
    const place = i(index);
    const name = names === undefined ? place : names[place];
    const whole = value[name];
    const item = short === undefined ? whole : fit(whole, short);
    const size = stringify(whole).length + (names === undefined ? 0 : name.length + 3);
    return { item: { __proto__: null, name, item }, size };
  };
  const head = take(count, at((i) => i), room - (room >> 2), 1);
  const left = count - head.length;
  const tail = take(left, at((i) => count - 1 - i), room >> 2, 0);
  const gone = left - tail.length;
  if (names === undefined) {
    const cut = [];
    for (let i = 0; i < head.length; i++) push(cut, head[i].item);
    if (gone > 0) push(cut, `… ${gone} more items …`);
    for (let i = tail.length - 1; i >= 0; i--) push(cut, tail[i].item);
    return cut;
  }
  const cut = { __proto__: null };
  for (let i = 0; i < head.length; i++) cut[cutText(head[i].name, room)] = head[i].item;
  if (gone > 0) cut["…"] = `${gone} more properties`;
  for (let i = tail.length - 1; i >= 0; i--) cut[tail[i].name] = tail[i].item;
  return cut;
}

/** JSON text, cut to so many characters. */
function cutJson(text, limit) {
  const value = parse(text);
  let room = limit;
  for (let i = 0; i < TRIES; i++) {
    const cut = stringify(fit(value, room));
    if (cut.length <= limit) return cut;
    room = floor((room * limit) / (cut.length + MARK)); // what is escaped takes more room
  }
  return stringify(`… ${text.length} characters …`);
}

// -- a value ----------------------------------------------------------------------------------

const plain = (json) => ({ __proto__: null, json, cut: false, text: null, note: null });

/**
 * A value as JSON.
 * @param {unknown} value
 * @param {number} limit characters of the JSON text
 * @returns {{json: string | null, cut: boolean, text: string | null, note: string | null}} the
 *   JSON text, null for what JSON has no word for; whether it was cut; and, when JSON doesn't
 *   hold all of the value, its text and what is missing
 */
exports.encode = function encode(value, limit) {
  if (value === undefined) return plain(null);
  if (typeof value === "boolean" || value === null) return plain(`${value}`);
  const found = watcher();
  const notes = [];
  let json;
  try {
    json = stringify(value, found.replace);
    if (typeof json === "string") json = wellFormed(json);
  } catch (error) {
    json = wellFormed(stringify(textOf(value))); // too deep, a cycle, a bigint, a toJSON that throws
    push(notes, error === TOO_DEEP
      ? `nested deeper than ${DEPTH_MAX} levels, so the result is the value as text`
      : "the value can't be made JSON, so the result is the value as text");
  }
  if (found.count > 0) push(notes, `JSON has no form for ${place(found.places, found.count)}`);
  const text = notes.length > 0 ? textOf(value) : null;
  const cut = typeof json === "string" && json.length > limit;
  if (cut) {
    push(notes, `cut from ${json.length} to at most ${limit} characters`);
    json = cutJson(json, limit);
  }
  return { __proto__: null, json: typeof json === "string" ? json : null, cut, text,
    note: notes.length > 0 ? join(notes, "; ") : null };
};

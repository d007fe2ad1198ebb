"use strict";
// A value as JSON text, as JSON.stringify gives it, with what JSON.stringify doesn't tell: what
// of the value JSON has no form for, and where. What is too long is cut so that it stays JSON:
// head and tail are kept, and what is left out between them is counted. It is read no further
// than that: what it costs follows the limit, not how large the value is.

const { Map, ObjectPrototype, Symbol, apply, charAt, charCode, exec, floor, getPrototype, indexOf,
  is, isArray, isJsonChanged, join, keys, mapGet, mapSet, max, ownValue, parse, push, slice,
  stringify, typedLength } = require("intrinsics");
const { setting } = require("output");
const { inspect } = require("text");
const { typeOf } = host;

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
const TYPED = /^(?:Big)?(?:Int|Uint|Float)\d+(?:Clamped)?Array$/;
const LONG = 1000; // numbers of a typed array whose indices aren't listed
const NAME = /^[A-Za-z_$][\w$]*$/;

const TOO_DEEP = { __proto__: null };
const TOO_LONG = { __proto__: null };

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

/** V8's name for an object that is no plain one; "" for those. */
function brandOf(value, brands) {
  if (isArray(value)) return "";
  const prototype = getPrototype(value);
  if (prototype === ObjectPrototype || prototype === null) return "";
  // Asking V8 costs microseconds: the answer is the same for all instances of a class.
  let brand = mapGet(brands, prototype);
  if (brand === undefined) {
    brand = typeOf(value);
    // V8 has no brand for what Intl makes, for iterators and the like; their class has a tag.
    const tag = brand === "Object" ? ownValue(prototype, Symbol.toStringTag) : undefined;
    if (typeof tag === "string" && tag !== "Object") brand = tag;
    mapSet(brands, prototype, brand);
  }
  return brand;
}

// -- reading --------------------------------------------------------------------------------

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
  const brand = value === null ? "" : brandOf(value, brands);
  return brand === "" || brand in WHOLE ? undefined : brand;
}

/**
 * The replacer of JSON.stringify that watches, and what it has found. It throws TOO_LONG once
 * the text must be longer than what is `left`.
 */
function watcher(limit) {
  const brands = new Map();
  const holders = [];
  const names = [];
  const found = { __proto__: null, places: [], count: 0, left: limit };

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
    const isListed = isArray(this);
    found.left -= typeof value === "string" ? value.length + 3 : 2;
    if (!isListed && value !== undefined) found.left -= key.length + 3;
    if (found.left < 0) throw TOO_LONG;
    if (typeof value === "string" || typeof value === "boolean") return value;
    const loss = lossOf(value, brands);
    if (loss !== undefined) note(key, loss);
    else if (value === undefined && isListed) note(key, "undefined");
    if (typeof value !== "object" || value === null) return value;
    if (loss in BYTES) return `[${loss} of ${sizeOf(value)} bytes]`;
    if (isArray(value) && 2 * value.length > found.left) throw TOO_LONG;
    if (isTyped(loss) && 6 * typedLength(value) > found.left) throw TOO_LONG;
    if (holders.length > DEPTH_MAX) throw TOO_DEEP;
    push(holders, value);
    push(names, key);
    return value;
  };

  /** JSON text of a value; throws TOO_LONG, TOO_DEEP, or what JSON.stringify throws. */
  found.read = function read(value) {
    holders.length = names.length = 0;
    return stringify(value, found.replace);
  };
  return found;
}

/** Whether V8's brand of a value is that of a typed array. */
const isTyped = (brand) => brand !== undefined && exec(TYPED, brand) !== null;
exports.isTyped = isTyped;

/** The names of an object's properties; undefined for indices that are too many to be listed. */
const keysOf = (object) =>
  isTyped(typeOf(object)) && typedLength(object) > LONG ? undefined : keys(object);

/**
 * Reads what is too long by itself: of each object and array so much as is needed.
 * @returns {string | object} see `partOf`
 */
function readPart(value, limit) {
  const whole = watcher(0); // reads what is whole within the parts

  /** A value's text or part; undefined for what JSON has no word for. */
  function readItem(holder, name, room, depth) {
    let value = holder[name];
    const isObject = typeof value === "object" && value !== null;
    if (typeof value === "string" && value.length > room.left) {
      room.left = -1;
      return { __proto__: null, raw: value };
    }
    let text;
    try {
      whole.left = room.left;
      text = isObject ? whole.read(value) : stringify(value);
    } catch (error) {
      if (error !== TOO_LONG) throw error;
      if (typeof value.toJSON === "function") value = apply(value.toJSON, value, [`${name}`]);
      if (typeof value === "string") {
        room.left = -1;
        return { __proto__: null, raw: value };
      }
      return readItems(value, room, depth + 1);
    }
    if (text === undefined && isArray(holder)) text = "null";
    room.left -= text === undefined ? 0 : text.length + 1;
    return text;
  }

  function readItems(holder, room, depth) {
    const isList = isArray(holder);
    const own = isList ? undefined : keysOf(holder);
    const count = own !== undefined ? own.length : isList ? holder.length : typedLength(holder);
    const nameAt = (i) => (own !== undefined ? own[i] : isList ? i : `${i}`);
    const part = { __proto__: null, names: isList ? undefined : [], items: [], tail: [],
      tailNames: [], count };
    let next = 0;
    for (; next < count && room.left >= 0; next++) {
      const name = nameAt(next);
      const item = readItem(holder, name, room, depth);
      if (item === undefined) {
        part.count -= 1;
        continue;
      }
      push(part.items, item);
      if (isList) continue;
      push(part.names, stringify(name));
      room.left -= name.length + 3;
    }
    const end = { __proto__: null, left: floor(limit / 2 ** (depth + 1)) };
    for (let last = count - 1; last >= next && end.left >= 0; last--) {
      const name = nameAt(last);
      const item = readItem(holder, name, end, depth);
      if (item === undefined) part.count -= 1;
      if (item === undefined || end.left < 0) continue;
      push(part.tail, item);
      if (!isList) push(part.tailNames, stringify(name));
    }
    return part;
  }

  return readItem([value], 0, { __proto__: null, left: limit }, 0);
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
 * How many items from the beginning, or from the end, fit; one that takes most of the room by
 * itself is cut, the first one in any case.
 * @returns {{whole: number, rest: number}} how many fit, and the room of one more that is cut;
 *   -1 if there is none
 */
function take(count, sizeAt, limit, least) {
  let used = 0;
  for (let i = 0; i < count; i++) {
    const size = sizeAt(i);
    used += size + 1;
    if (used <= limit) continue;
    const rest = limit - used + size;
    const isCut = i < least || (size > limit / 2 && rest > 2 * MARK);
    return { __proto__: null, whole: i, rest: isCut ? max(rest, 0) : -1 };
  }
  return { __proto__: null, whole: count, rest: -1 };
}

/**
 * An object or array of which the first items are known, in order, and the last ones, the last
 * one first; each as JSON text, as a part, or as `{raw}`. What was read whole is one, too.
 * @param {unknown} value plain data
 */
function partOf(value) {
  const own = isArray(value) ? undefined : keys(value);
  const part = { __proto__: null, names: own === undefined ? undefined : [],
    items: [], tail: [], tailNames: [], count: own === undefined ? value.length : own.length };
  for (let i = 0; i < part.count; i++) {
    push(part.items, stringify(own === undefined ? value[i] : value[own[i]]));
    if (own !== undefined) push(part.names, stringify(own[i]));
  }
  return part;
}

/** What is cut of what was read: plain data. */
function fit(read, limit) {
  if (typeof read.raw === "string") return cutText(read.raw, max(limit - 2, 0));
  const value = typeof read === "string" ? parse(read) : undefined;
  if (typeof value === "string") return cutText(value, max(limit - 2, 0));
  if (value !== undefined && (typeof value !== "object" || value === null)) return value;
  const part = value === undefined ? read : partOf(value);
  const { names, items, tail, count } = part;
  if (limit <= 2 * MARK) return `… ${count} ${names === undefined ? "items" : "properties"} …`;
  const room = limit - MARK;
  const isList = names === undefined;
  // Millions of items may be taken: nothing is made for each but its data.
  const sizeIn = (from, fromNames, at) => (i) => {
    const item = from[at(i)];
    if (typeof item !== "string") return limit + 1;
    return item.length + (isList ? 0 : fromNames[at(i)].length + 1);
  };
  const fromStart = (i) => i;
  const fromEnd = (i) => items.length - 1 - i;
  const first = take(items.length, sizeIn(items, names, fromStart), room - (room >> 2), 1);
  const firstCount = first.whole + (first.rest < 0 ? 0 : 1);
  // Where all was read, its own end is the tail.
  const isRead = items.length === count;
  const ends = isRead ? items : tail;
  const endNames = isRead ? names : part.tailNames;
  const endAt = isRead ? fromEnd : fromStart;
  const endsMax = isRead ? items.length - firstCount : tail.length;
  const end = take(endsMax, sizeIn(ends, endNames, endAt), room >> 2, 0);
  const endCount = end.whole + (end.rest < 0 ? 0 : 1);
  const gone = count - firstCount - endCount;
  const dataOf = (item, i, { whole, rest }) => (i < whole ? parse(item) : fit(item, rest));
  const cut = isList ? [] : { __proto__: null };
  const put = isList
    ? (_name, item) => push(cut, item)
    : (name, item) => {
      cut[cutText(parse(name), room)] = item;
    };
  for (let i = 0; i < firstCount; i++) put(isList ? "" : names[i], dataOf(items[i], i, first));
  if (gone > 0 && isList) push(cut, `… ${gone} more items …`);
  else if (gone > 0) cut["…"] = `${gone} more properties`;
  for (let i = endCount - 1; i >= 0; i--) {
    put(isList ? "" : endNames[endAt(i)], dataOf(ends[endAt(i)], i, end));
  }
  return cut;
}

/** What was read, cut to so many characters of JSON text. */
function cutJson(read, limit) {
  let room = limit;
  for (let i = 0; i < TRIES; i++) {
    const cut = stringify(fit(read, room));
    if (cut.length <= limit) return cut;
    room = floor((room * limit) / (cut.length + MARK)); // what is escaped takes more room
  }
  return stringify("…");
}

// -- a value ----------------------------------------------------------------------------------

const plain = (json) => ({ __proto__: null, json, cut: false, text: null, note: null, whole: null });

/** JSON of what needs no watching; undefined for anything else. */
function primitive(value, limit) {
  switch (typeof value) {
    case "number":
      return value - value === 0 && !is(value, -0) ? `${value}` : undefined;
    case "string":
      return value.length < limit ? wellFormed(stringify(value)) : undefined;
    case "boolean":
      return `${value}`;
    default:
      return value === null ? "null" : undefined;
  }
}

/**
 * A value as JSON.
 * @param {unknown} value
 * @param {number} limit characters of the JSON text
 * @param {number} wholeMax characters of all of it, if it is cut; 0 if only the cut is wanted
 * @returns {{json: string | null, cut: boolean, text: string | null, note: string | null,
 *   whole: string | null}} the JSON text, null for what JSON has no word for; whether it was
 *   cut; when JSON doesn't hold all of the value, its text and what is missing; and what was
 *   cut, uncut
 */
exports.encode = function encode(value, limit, wholeMax = 0) {
  if (value === undefined) return plain(null);
  const simple = primitive(value, limit);
  if (simple !== undefined && simple.length <= limit) return plain(simple);
  const found = watcher(limit);
  const notes = [];
  let read;
  try {
    read = within(found, value, limit);
  } catch (error) {
    read = stringify(textOf(value)); // too deep, a cycle, a bigint, a toJSON that throws
    push(notes, error === TOO_DEEP
      ? `nested deeper than ${DEPTH_MAX} levels, so the result is the value as text`
      : "the value can't be made JSON, so the result is the value as text");
  }
  if (found.count > 0) push(notes, `JSON has no form for ${place(found.places, found.count)}`);
  const text = notes.length > 0 ? textOf(value) : null;
  let json = typeof read === "string" ? wellFormed(read) : read;
  const cut = json !== undefined && (typeof json !== "string" || json.length > limit);
  let whole = null;
  if (cut) {
    if (wholeMax > 0) whole = typeof json === "string" ? json : wholeOf(value, wholeMax);
    if (whole !== null && whole.length > wholeMax) whole = null;
    push(notes, `cut to at most ${limit} characters`);
    json = wellFormed(cutJson(json, limit));
  }
  return { __proto__: null, json: json ?? null, cut, text,
    note: notes.length > 0 ? join(notes, "; ") : null, whole };
};

/** JSON text of a value; null if it is longer than the limit, or can't be read again. */
function wholeOf(value, limit) {
  try {
    return wellFormed(watcher(limit).read(value));
  } catch {
    return null;
  }
}

/** JSON text of a value, or a part of what would be longer than the limit. */
function within(found, value, limit) {
  try {
    return found.read(value);
  } catch (error) {
    if (error !== TOO_LONG) throw error;
  }
  return readPart(value, limit);
}

/**
 * As JSON.stringify, but cut to about so many characters.
 * @returns {string | undefined}
 */
exports.stringifyWithin = function stringifyWithin(value, limit) {
  let read;
  try {
    read = within(watcher(limit), value, limit);
  } catch {
    return stringify(value); // as it throws, or too deep for us
  }
  return read === undefined || typeof read === "string" ? read : cutJson(read, limit);
};

/**
 * A value as JSON has it: a copy.
 * @returns {{data: unknown} | string} or why there is none
 */
exports.copyWithin = function copyWithin(value, limit) {
  if (isJsonChanged()) return { __proto__: null, data: value }; // for `toJson` to look through
  try {
    const text = watcher(limit).read(value);
    return { __proto__: null, data: text === undefined ? undefined : parse(text) };
  } catch (error) {
    if (error === TOO_LONG) return `takes more than ${limit} bytes; raise ${setting()} to see it`;
    if (error === TOO_DEEP) return `is nested deeper than ${DEPTH_MAX} levels`;
    throw error;
  }
};

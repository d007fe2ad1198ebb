"use strict";
// Headers (https://fetch.spec.whatwg.org/#headers-class). What a page of a site may not set,
// such as `Cookie`, is free here, as in other runtimes outside of browsers; of the guards there
// are those that hold everywhere: "none", "immutable" and, for `mode: "no-cors"`, what is simple.
const { charCode, exec, slice, sliceItems, sort, toLowerCase } = require("intrinsics");
const { byteString, defineInterface, defineIterable, requireArguments, toPairs } =
  require("web/idl");

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NOT_IN_VALUE = /[\0\n\r]/;
const COOKIE = "set-cookie"; // the one whose values are never combined: they have commas

/** Makes headers that nobody can change; for what a server has sent. */
let immutable;
/** The list of headers, to be read: {name, key, value} of each. */
let listOf;
/** A copy of headers, which has a guard. */
let copyOf;
/** Add a header unless there is one with its name, which is given in lower case. */
let addMissing;
/** Have headers kept to what a request without CORS may have. */
let restrict;

class Headers {
  /** In the order in which they were appended: {name, key, value}, the key in lower case. */
  #list = [];
  #guard = "none";
  /** Sorted and combined pairs, made when somebody iterates; null when the list has changed. */
  #sorted = null;

  constructor(init = undefined) {
    if (init === undefined) return;
    const pairs = toPairs(init, byteString, "Failed to construct 'Headers'");
    for (let i = 0; i < pairs.length; i++) this.#append(pairs[i][0], pairs[i][1], "construct");
  }

  append(name, value) {
    this.#list; // throws for what is no Headers
    requireArguments(arguments.length, 2, "append");
    this.#append(byteString(name, "append"), byteString(value, "append"), "append");
  }

  delete(name) {
    this.#list;
    requireArguments(arguments.length, 1, "delete");
    const key = toKey(byteString(name, "delete"), "delete");
    this.#refuseIfGuarded("delete");
    if (this.#guard === "request-no-cors" && !SIMPLE[key] && key !== "range") return;
    this.#sorted = null;
    this.#list = without(this.#list, key, 0);
  }

  get(name) {
    this.#list;
    requireArguments(arguments.length, 1, "get");
    return combined(this.#list, toKey(byteString(name, "get"), "get"));
  }

  getSetCookie() {
    return valuesOf(this.#list, COOKIE);
  }

  has(name) {
    this.#list;
    requireArguments(arguments.length, 1, "has");
    return indexOf(this.#list, toKey(byteString(name, "has"), "has")) >= 0;
  }

  set(name, value) {
    this.#list;
    requireArguments(arguments.length, 2, "set");
    const text = byteString(name, "set");
    const header = toHeader(text, byteString(value, "set"), "set");
    this.#refuseIfGuarded("set");
    if (!this.#admits(header.key, header.value)) return;
    this.#sorted = null;
    const list = this.#list;
    const at = indexOf(list, header.key);
    if (at < 0) {
      list[list.length] = header;
      return;
    }
    header.name = list[at].name;
    list[at] = header;
    this.#list = without(list, header.key, at + 1);
  }

  #append(name, value, what) {
    const header = toHeader(name, value, what);
    this.#refuseIfGuarded(what);
    const list = this.#list;
    if (this.#guard === "request-no-cors") {
      const before = combined(list, header.key);
      if (!this.#admits(header.key, before === null ? header.value : `${before}, ${header.value}`)) {
        return;
      }
    }
    this.#sorted = null;
    const at = indexOf(list, header.key);
    if (at >= 0) header.name = list[at].name; // one name is written in one way
    list[list.length] = header;
  }

  #admits(key, value) {
    return this.#guard !== "request-no-cors" || (SIMPLE[key] === true && isSimple(key, value));
  }

  #refuseIfGuarded(what) {
    if (this.#guard === "immutable") {
      throw new TypeError(`Failed to execute '${what}' on 'Headers': the headers are immutable.`);
    }
  }

  static {
    immutable = (init) => {
      const headers = new Headers(init);
      headers.#guard = "immutable";
      return headers;
    };
    listOf = (headers) => headers.#list;
    copyOf = (headers, guard = "none") => {
      const copy = new Headers();
      copy.#list = sliceItems(headers.#list, 0, headers.#list.length);
      copy.#guard = guard;
      return copy;
    };
    addMissing = (headers, name, value) => {
      if (indexOf(headers.#list, name) < 0) headers.#append(name, value, "append");
    };
    restrict = (headers) => {
      const list = headers.#list;
      headers.#list = [];
      headers.#guard = "request-no-cors";
      for (let i = 0; i < list.length; i++) headers.#append(list[i].name, list[i].value, "restrict");
    };
    defineIterable(Headers, (headers) => (headers.#sorted ??= sortAndCombine(headers.#list)));
  }
}

const SIMPLE = {
  __proto__: null, accept: true, "accept-language": true, "content-language": true,
  "content-type": true,
};
const SIMPLE_MAX = 128; // characters of a value
const UNSAFE = /[\0-\x08\x0a-\x1f"():<>?@[\\\]{}\x7f]/;
const LANGUAGE = /^[0-9A-Za-z *,\-.;=]*$/;
const FORMS = {
  __proto__: null, "application/x-www-form-urlencoded": true, "multipart/form-data": true,
  "text/plain": true,
};

/** Whether a value is one that a form could send (CORS-safelisted). */
function isSimple(key, value) {
  if (value.length > SIMPLE_MAX) return false;
  if (key === "accept") return exec(UNSAFE, value) === null;
  if (key !== "content-type") return exec(LANGUAGE, value) !== null;
  const { essenceOf, parseType } = require("web/mime_type");
  const type = parseType(value);
  return exec(UNSAFE, value) === null && type !== null && FORMS[essenceOf(type)] === true;
}

/** A header's name as it is looked up. */
function toKey(name, what) {
  if (exec(NAME, name) === null) {
    throw new TypeError(`Failed to execute '${what}' on 'Headers': '${name}' is no header name.`);
  }
  return toLowerCase(name);
}

function toHeader(name, value, what) {
  const trimmed = normalize(value);
  const key = toKey(name, what);
  if (exec(NOT_IN_VALUE, trimmed) !== null) {
    throw new TypeError(`Failed to execute '${what}' on 'Headers': '${name}' has a value that ` +
      "is no header value.");
  }
  return { __proto__: null, name, key, value: trimmed };
}

const isBlank = (unit) => unit === 0x20 || unit === 0x09 || unit === 0x0a || unit === 0x0d;

function normalize(value) {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(charCode(value, start))) start++;
  while (end > start && isBlank(charCode(value, end - 1))) end--;
  return slice(value, start, end);
}

function indexOf(list, key) {
  for (let i = 0; i < list.length; i++) if (list[i].key === key) return i;
  return -1;
}

/** The list without a name, as far as it stands at or after a position. */
function without(list, key, from) {
  const rest = [];
  for (let i = 0; i < list.length; i++) {
    if (i < from || list[i].key !== key) rest[rest.length] = list[i];
  }
  return rest;
}

function valuesOf(list, key) {
  const values = [];
  for (let i = 0; i < list.length; i++) {
    if (list[i].key === key) values[values.length] = list[i].value;
  }
  return values;
}

function combined(list, key) {
  let text = null;
  for (let i = 0; i < list.length; i++) {
    if (list[i].key === key) text = text === null ? list[i].value : `${text}, ${list[i].value}`;
  }
  return text;
}

function sortAndCombine(list) {
  const texts = { __proto__: null };
  const keys = [];
  for (let i = 0; i < list.length; i++) {
    const { key, value } = list[i];
    if (key in texts) {
      texts[key] = `${texts[key]}, ${value}`;
    } else {
      keys[keys.length] = key;
      texts[key] = value;
    }
  }
  sort(keys);
  const pairs = [];
  for (let i = 0; i < keys.length; i++) {
    const values = keys[i] === COOKIE ? valuesOf(list, COOKIE) : [texts[keys[i]]];
    for (let k = 0; k < values.length; k++) pairs[pairs.length] = [keys[i], values[k]];
  }
  return pairs;
}

defineInterface(Headers, {
  show: (headers, inspect, options) => inspect(shown(headers), options),
});

/** What is printed: an object, as there are few names that come twice. */
function shown(headers) {
  const object = {};
  for (const [name, value] of headers) {
    object[name] = Object.hasOwn(object, name) ? `${object[name]}, ${value}` : value;
  }
  return object;
}

module.exports = { Headers, addMissing, combined, copyOf, immutable, listOf, restrict };

"use strict";
// What Web IDL gives every interface and JavaScript classes don't have by themselves.

const { apply, defineProperty, exec, getDescriptor, ownKeys, uncurry } = require("intrinsics");

const INSPECT = Symbol.for("nodejs.util.inspect.custom");
const ITERATOR = Symbol.iterator;

/** Interfaces defined so far, each with the function that clones its objects, or null. */
const cloners = new Map();

/** Handed to constructors that only the platform itself may call. */
const PLATFORM = Symbol("platform");

/**
 * Make a class look like a Web IDL interface.
 *
 * @param {Function} Class
 * @param {object} [traits]
 * @param {string[]} [traits.show] getters to show when an object is printed
 * @param {(value: object) => object} [traits.clone] how structuredClone copies an object
 * @param {Record<string, number>} [traits.constants]
 */
function defineInterface(Class, { show, clone = null, constants = {} } = {}) {
  makeMembersEnumerable(Class.prototype, ["constructor"]);
  makeMembersEnumerable(Class, ["length", "name", "prototype"]);
  for (const [name, value] of Object.entries(constants)) {
    Object.defineProperty(Class, name, { value, enumerable: true });
    Object.defineProperty(Class.prototype, name, { value, enumerable: true });
  }
  Object.defineProperty(Class.prototype, Symbol.toStringTag, {
    value: Class.name,
    configurable: true,
  });
  if (show) defineInspect(Class, show);
  cloners.set(Class, clone);
}

function makeMembersEnumerable(object, except) {
  for (const name of Object.getOwnPropertyNames(object)) {
    if (!except.includes(name)) Object.defineProperty(object, name, { enumerable: true });
  }
}

/**
 * Say what is shown of an object, by Node.js's convention for util.inspect.
 *
 * @param {Function} Class
 * @param {string[] | ((object: object, inspect: Function, options: object) => string)} show
 */
function defineInspect(Class, show) {
  const body =
    typeof show === "function"
      ? show
      : (object, inspect, options) =>
          inspect(Object.fromEntries(show.map((name) => [name, object[name]])), options);
  const value = function (depth, options, inspect) {
    const name = this.constructor?.name || Class.name;
    // The prototype itself is no object of its interface: its getters throw.
    if (Object.hasOwn(this, INSPECT)) return `${name} {}`;
    if (depth < 0) return `[${name}]`;
    const inner = { ...options, depth: options.depth == null ? null : options.depth - 1 };
    return `${name} ${body(this, inspect, inner)}`;
  };
  Object.defineProperty(Class.prototype, INSPECT, { value, writable: true, configurable: true });
}

/** Throw as browsers do when a call lacks arguments. */
function requireArguments(given, needed, what) {
  if (given < needed) {
    const plural = needed === 1 ? "" : "s";
    throw new TypeError(
      `Failed to execute '${what}': ` +
        `${needed} argument${plural} required, but only ${given} present.`,
    );
  }
}

/** Convert to a Web IDL dictionary: undefined and null are the empty one. */
function dictionary(value, what) {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" && typeof value !== "function") {
    throw new TypeError(`${what}: the provided value is not of type 'object'.`);
  }
  return value;
}

const NO_BYTE = /[^\0-\xff]/;
const toWellFormed = uncurry(String.prototype.toWellFormed);

/** Convert to Web IDL's ByteString. */
function byteString(value, what) {
  const text = `${value}`;
  if (exec(NO_BYTE, text) !== null) {
    throw new TypeError(`${what}: a character of the string is above 255, which no byte is.`);
  }
  return text;
}

/** Convert to Web IDL's USVString. */
function usvString(value) {
  return toWellFormed(`${value}`);
}

/**
 * Convert to Web IDL's `(sequence<sequence<T>> or record<T, T>)`, each inner sequence a pair.
 *
 * @param {unknown} value
 * @param {(value: unknown, what: string) => string} convert to T
 * @param {string} what
 * @returns {string[][]}
 */
function toPairs(value, convert, what) {
  requireObject(value, `${what}: the value is neither a sequence nor a record.`);
  const method = value[ITERATOR];
  if (method === undefined || method === null) return recordPairs(value, convert, what);
  return toSequence(value, method, what, (item) => {
    requireObject(item, `${what}: a member of the sequence is no sequence itself.`);
    const pair = toSequence(item, item[ITERATOR], what, (part) => convert(part, what));
    if (pair.length !== 2) {
      throw new TypeError(`${what}: a member of the sequence is no pair of name and value.`);
    }
    return pair;
  });
}

function recordPairs(record, convert, what) {
  const keys = ownKeys(record);
  const pairs = [];
  for (let i = 0; i < keys.length; i++) {
    if (getDescriptor(record, keys[i])?.enumerable !== true) continue;
    const key = convert(keys[i], what);
    pairs[pairs.length] = [key, convert(record[keys[i]], what)];
  }
  return pairs;
}

/** What an iterable has, by the method that was got from it, each member converted. */
function toSequence(iterable, method, what, convert) {
  if (typeof method !== "function") {
    throw new TypeError(`${what}: the object must have a callable @@iterator property.`);
  }
  const items = [];
  const iterator = apply(method, iterable, []);
  for (const item of { __proto__: null, [ITERATOR]: () => iterator }) {
    items[items.length] = convert(item);
  }
  return items;
}

function requireObject(value, message) {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) {
    throw new TypeError(message);
  }
}

/**
 * Give an interface its pairs (Web IDL's `iterable<K, V>`).
 *
 * @param {Function} Class
 * @param {(object: object) => Array[]} pairsOf an object's pairs as they are now; throws for what
 *     is no object of the interface
 */
function defineIterable(Class, pairsOf) {
  class PairIterator {
    #target;
    #kind;
    #index = 0;

    constructor(target, kind) {
      this.#target = target;
      this.#kind = kind;
    }

    next() {
      const pairs = pairsOf(this.#target);
      if (this.#index >= pairs.length) return { value: undefined, done: true };
      const { 0: key, 1: item } = pairs[this.#index++];
      const value = this.#kind === "keys" ? key : this.#kind === "values" ? item : [key, item];
      return { value, done: false };
    }
  }
  const { prototype } = PairIterator;
  delete prototype.constructor;
  Object.setPrototypeOf(prototype, Iterator.prototype);
  makeMembersEnumerable(prototype, []);
  defineProperty(prototype, Symbol.toStringTag, {
    value: `${Class.name} Iterator`, configurable: true,
  });
  const methods = {
    entries() {
      pairsOf(this);
      return new PairIterator(this, "entries");
    },
    keys() {
      pairsOf(this);
      return new PairIterator(this, "keys");
    },
    values() {
      pairsOf(this);
      return new PairIterator(this, "values");
    },
    forEach(callback, thisArg = undefined) {
      pairsOf(this);
      requireArguments(arguments.length, 1, "forEach");
      if (typeof callback !== "function") {
        throw new TypeError(`Failed to execute 'forEach' on '${Class.name}': parameter 1 is not ` +
          "of type 'Function'.");
      }
      // Asked for anew each time: the callback may change them.
      for (let i = 0; i < pairsOf(this).length; i++) {
        const { 0: key, 1: item } = pairsOf(this)[i];
        apply(callback, thisArg, [item, key, this]);
      }
    },
  };
  for (const name of Object.keys(methods)) {
    defineProperty(Class.prototype, name, {
      value: methods[name], writable: true, enumerable: true, configurable: true,
    });
  }
  defineProperty(Class.prototype, ITERATOR, {
    value: methods.entries, writable: true, configurable: true,
  });
}

/** Refuse `new` to everyone but the platform. */
function requirePlatform(token) {
  if (token !== PLATFORM) throw new TypeError("Illegal constructor");
}

module.exports = {
  PLATFORM,
  byteString,
  cloners,
  defineInspect,
  defineInterface,
  defineIterable,
  dictionary,
  requireArguments,
  requirePlatform,
  toPairs,
  toSequence,
  usvString,
};

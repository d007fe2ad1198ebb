"use strict";
// The built-ins that the runtime relies on, as they were before any user code ran: a cell may
// replace or delete them (`Array.prototype.push = null`), and the runtime must go on working.
// Methods are uncurried: `push(list, item)` is `list.push(item)`.

const { bind, call } = Function.prototype;
const uncurry = bind.bind(call);

const { Uint8Array } = globalThis;
const TypedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype);
const getterOf = (object, name) => uncurry(Object.getOwnPropertyDescriptor(object, name).get);

const { hasOwn, getPrototypeOf: getPrototype, keys, prototype: ObjectPrototype } = Object;
const { isArray, prototype: ArrayPrototype } = Array;
const { stringify } = JSON;

/** Whether user code has put a `toJSON` onto all objects or all arrays. */
const isJsonChanged = () => hasOwn(ObjectPrototype, "toJSON") || hasOwn(ArrayPrototype, "toJSON");

/**
 * JSON text of the runtime's own messages: a `toJSON` that user code has put onto all objects
 * or all arrays has no say in it.
 */
const toJson = (value) => stringify(isJsonChanged() ? withoutToJson(value) : value);

/** A copy whose plain objects and arrays inherit nothing that JSON.stringify would call. */
function withoutToJson(value) {
  if (typeof value !== "object" || value === null) return value;
  if (isArray(value)) {
    const copy = [];
    for (let i = 0; i < value.length; i++) push(copy, withoutToJson(value[i]));
    defineProperty(copy, "toJSON", { __proto__: null, value: undefined });
    return copy;
  }
  const prototype = getPrototype(value);
  if (prototype !== null && prototype !== ObjectPrototype) return value;
  const copy = { __proto__: null };
  const names = keys(value);
  for (let i = 0; i < names.length; i++) copy[names[i]] = withoutToJson(value[names[i]]);
  return copy;
}

const { defineProperty, getOwnPropertyDescriptor } = Object;

/**
 * A descriptor that inherits nothing, as those given to `defineProperty` must be: a `get` or
 * `value` that user code has put onto all objects is no part of it.
 */
function getDescriptor(object, key) {
  const found = getOwnPropertyDescriptor(object, key);
  return found === undefined ? undefined : { __proto__: null, ...found };
}

/** What an own property holds; undefined if it has a getter, which isn't called. */
function ownValue(object, key) {
  const found = getOwnPropertyDescriptor(object, key);
  return found !== undefined && hasOwn(found, "value") ? found.value : undefined;
}

const replaceText = uncurry(String.prototype.replace);
const exec = uncurry(RegExp.prototype.exec);
const slice = uncurry(String.prototype.slice);
const isGlobal = getterOf(RegExp.prototype, "global");
const { apply } = Reflect;

/**
 * As String.prototype.replace, which asks the pattern for methods that user code may have
 * changed. A function is given what `exec` finds; there are no patterns in a text.
 */
function replace(text, pattern, replacement) {
  if (typeof pattern === "string") return replaceText(text, pattern, replacement);
  let done = 0;
  let replaced = "";
  pattern.lastIndex = 0;
  for (let hit = exec(pattern, text); hit !== null; hit = exec(pattern, text)) {
    const fresh = typeof replacement === "function" ? apply(replacement, undefined, hit) : replacement;
    replaced += slice(text, done, hit.index) + fresh;
    done = hit.index + hit[0].length;
    if (!isGlobal(pattern)) break;
    if (hit[0] === "") pattern.lastIndex += 1;
  }
  return replaced + slice(text, done);
}

const { isView } = ArrayBuffer;
const isDetached = getterOf(ArrayBuffer.prototype, "detached");
const typedName = getterOf(TypedArrayPrototype, Symbol.toStringTag);
const placesOf = (prototype) =>
  ["buffer", "byteOffset", "byteLength"].map((name) => getterOf(prototype, name));
const [typedBuffer, typedOffset, typedBytes] = placesOf(TypedArrayPrototype);
const [dataBuffer, dataOffset, dataBytes] = placesOf(DataView.prototype);

/** The bytes of a buffer or under a view, not copied. */
function bytesUnder(value) {
  if (!isView(value)) return new Uint8Array(value);
  return typedName(value) === undefined
    ? new Uint8Array(dataBuffer(value), dataOffset(value), dataBytes(value))
    : new Uint8Array(typedBuffer(value), typedOffset(value), typedBytes(value));
}

/**
 * Adds to an array. Assigning would ask Array.prototype, to which user code may have given an
 * accessor of that index, so it is only tried.
 */
function push(list, item) {
  const at = list.length;
  try {
    list[at] = item;
  } catch {
    // It is defined below.
  }
  if (list.length === at) {
    defineProperty(list, at, { __proto__: null, value: item, writable: true, enumerable: true,
      configurable: true });
  }
}

// As the methods of arrays, which ask the array's class for one to put the result into: that is
// for user code to change.
function map(list, change) {
  const made = [];
  for (let i = 0; i < list.length; i++) push(made, change(list[i], i));
  return made;
}

function filter(list, isWanted) {
  const found = [];
  for (let i = 0; i < list.length; i++) if (isWanted(list[i])) push(found, list[i]);
  return found;
}

function concat(one, other) {
  const all = sliceItems(one, 0, one.length);
  for (let i = 0; i < other.length; i++) push(all, other[i]);
  return all;
}

function sliceItems(list, from, to) {
  const found = [];
  for (let i = from; i < to && i < list.length; i++) push(found, list[i]);
  return found;
}

module.exports = {
  __proto__: null,
  uncurry,
  toJson,

  apply,
  ownKeys: Reflect.ownKeys,

  create: Object.create,
  defineProperty: Object.defineProperty,
  getDescriptor,
  getOwnPropertyDescriptor,
  getNames: Object.getOwnPropertyNames,
  getPrototype: Object.getPrototypeOf,
  getSymbols: Object.getOwnPropertySymbols,
  keys: Object.keys,
  valuesOf: Object.values,
  is: Object.is,
  hasOwn: Object.hasOwn,
  ownValue,
  preventExtensions: Object.preventExtensions,
  ObjectPrototype: Object.prototype,

  isArray: Array.isArray,
  arrayFrom: Array.from,
  filter,
  concat,
  join: uncurry(Array.prototype.join),
  map,
  pop: uncurry(Array.prototype.pop),
  push,
  sliceItems,
  sort: uncurry(Array.prototype.sort),

  parse: JSON.parse,
  stringify,
  isJsonChanged,

  toText: String,
  decodeUri: decodeURIComponent,
  charAt: uncurry(String.prototype.charAt),
  charCode: uncurry(String.prototype.charCodeAt),
  endsWith: uncurry(String.prototype.endsWith),
  includes: uncurry(String.prototype.includes),
  indexOf: uncurry(String.prototype.indexOf),
  lastIndexOf: uncurry(String.prototype.lastIndexOf),
  padStart: uncurry(String.prototype.padStart),
  repeat: uncurry(String.prototype.repeat),
  replace,
  replaceAll: uncurry(String.prototype.replaceAll),
  slice,
  split: uncurry(String.prototype.split),
  startsWith: uncurry(String.prototype.startsWith),
  toLowerCase: uncurry(String.prototype.toLowerCase),
  trim: uncurry(String.prototype.trim),
  trimEnd: uncurry(String.prototype.trimEnd),
  exec,

  numberToString: uncurry(Number.prototype.toString),
  toFixed: uncurry(Number.prototype.toFixed),
  PI: Math.PI,
  ceil: Math.ceil,
  cos: Math.cos,
  floor: Math.floor,
  trunc: Math.trunc,
  max: Math.max,
  min: Math.min,

  currentTime: Date.now,
  errorToString: uncurry(Error.prototype.toString),
  captureStackTrace: Error.captureStackTrace,
  functionToString: uncurry(Function.prototype.toString),
  symbolToString: uncurry(Symbol.prototype.toString),

  ArrayBuffer,
  Error,
  Map,
  Promise,
  Proxy,
  RangeError,
  RegExp,
  Set,
  Symbol,
  SyntaxError,
  TypeError,
  WeakMap,
  mapGet: uncurry(Map.prototype.get),
  mapSet: uncurry(Map.prototype.set),
  mapHas: uncurry(Map.prototype.has),
  mapClear: uncurry(Map.prototype.clear),
  mapDelete: uncurry(Map.prototype.delete),
  mapSize: getterOf(Map.prototype, "size"),
  mapKeys: uncurry(Map.prototype.keys),
  mapForEach: uncurry(Map.prototype.forEach),
  mapNext: uncurry(Object.getPrototypeOf(new Map().keys()).next),
  setAdd: uncurry(Set.prototype.add),
  setHas: uncurry(Set.prototype.has),
  setDelete: uncurry(Set.prototype.delete),
  setSize: getterOf(Set.prototype, "size"),
  setValues: uncurry(Set.prototype.values),
  setNext: uncurry(Object.getPrototypeOf(new Set().values()).next),
  weakGet: uncurry(WeakMap.prototype.get),
  weakSet: uncurry(WeakMap.prototype.set),

  bytesUnder,
  isDetached,
  typedCopy: uncurry(TypedArrayPrototype.slice),
  typedLength: getterOf(TypedArrayPrototype, "length"),
  toBase64: Uint8Array.prototype.toBase64 && uncurry(Uint8Array.prototype.toBase64),

  then: uncurry(Promise.prototype.then),
  resolve: Promise.resolve.bind(Promise),
};

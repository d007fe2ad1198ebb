"use strict";
// The built-ins that the runtime relies on, as they were before any user code ran: a cell may
// replace or delete them (`Array.prototype.push = null`), and the runtime must go on working.
// Methods are uncurried: `push(list, item)` is `list.push(item)`.

const { bind, call } = Function.prototype;
const uncurry = bind.bind(call);

const TypedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype);
const getterOf = (object, name) => uncurry(Object.getOwnPropertyDescriptor(object, name).get);

const { hasOwn, getPrototypeOf: getPrototype, keys, prototype: ObjectPrototype } = Object;
const { isArray, prototype: ArrayPrototype } = Array;
const { stringify } = JSON;

/**
 * JSON text of the runtime's own messages: a `toJSON` that user code has put onto all objects
 * or all arrays has no say in it.
 */
function toJson(value) {
  const usual = !hasOwn(ObjectPrototype, "toJSON") && !hasOwn(ArrayPrototype, "toJSON");
  return stringify(usual ? value : withoutToJson(value));
}

/** A copy whose plain objects and arrays inherit nothing that JSON.stringify would call. */
function withoutToJson(value) {
  if (typeof value !== "object" || value === null) return value;
  if (isArray(value)) {
    const copy = [];
    for (let i = 0; i < value.length; i++) copy[i] = withoutToJson(value[i]);
    copy.toJSON = undefined;
    return copy;
  }
  const prototype = getPrototype(value);
  if (prototype !== null && prototype !== ObjectPrototype) return value;
  const copy = { __proto__: null };
  const names = keys(value);
  for (let i = 0; i < names.length; i++) copy[names[i]] = withoutToJson(value[names[i]]);
  return copy;
}

const { defineProperty: define, getOwnPropertyDescriptor } = Object;

// Descriptors that inherit nothing: a `get` or `value` that user code has put onto all objects
// is no part of them.
const defineProperty = (object, key, descriptor) =>
  define(object, key, { __proto__: null, ...descriptor });

function getDescriptor(object, key) {
  const found = getOwnPropertyDescriptor(object, key);
  return found === undefined ? undefined : { __proto__: null, ...found };
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

module.exports = {
  __proto__: null,
  uncurry,
  toJson,

  apply,
  ownKeys: Reflect.ownKeys,

  create: Object.create,
  defineProperty,
  getDescriptor,
  getNames: Object.getOwnPropertyNames,
  getPrototype: Object.getPrototypeOf,
  keys: Object.keys,
  is: Object.is,
  hasOwn: Object.hasOwn,
  preventExtensions: Object.preventExtensions,
  ObjectPrototype: Object.prototype,

  isArray: Array.isArray,
  arrayFrom: Array.from,
  filter: uncurry(Array.prototype.filter),
  concat: uncurry(Array.prototype.concat),
  join: uncurry(Array.prototype.join),
  map: uncurry(Array.prototype.map),
  pop: uncurry(Array.prototype.pop),
  push: uncurry(Array.prototype.push),
  sliceItems: uncurry(Array.prototype.slice),
  sort: uncurry(Array.prototype.sort),

  parse: JSON.parse,
  stringify,

  toText: String,
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
  floor: Math.floor,
  trunc: Math.trunc,
  max: Math.max,
  min: Math.min,

  currentTime: Date.now,
  errorToString: uncurry(Error.prototype.toString),
  captureStackTrace: Error.captureStackTrace,
  functionToString: uncurry(Function.prototype.toString),
  symbolToString: uncurry(Symbol.prototype.toString),

  Map,
  RegExp,
  Set,
  Uint8Array,
  mapGet: uncurry(Map.prototype.get),
  mapSet: uncurry(Map.prototype.set),
  mapHas: uncurry(Map.prototype.has),
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

  typedLength: getterOf(TypedArrayPrototype, "length"),
  toBase64: Uint8Array.prototype.toBase64 && uncurry(Uint8Array.prototype.toBase64),

  then: uncurry(Promise.prototype.then),
  resolve: Promise.resolve.bind(Promise),
};

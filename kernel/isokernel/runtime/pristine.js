"use strict";
// The built-ins as they were before any user code ran, for modules that are loaded later: what
// libraries take from built-ins when they are loaded must not be what a cell has made of them.

const { ObjectPrototype, defineProperty, getDescriptor, getOwnPropertyDescriptor, getPrototype,
  hasOwn, ownKeys, ownValue } = require("intrinsics");

const CLASSES = ["Object", "Function", "Array", "String", "Number", "Boolean", "Symbol", "BigInt",
  "Date", "RegExp", "Promise", "Map", "Set", "WeakMap", "WeakSet", "WeakRef",
  "FinalizationRegistry", "Proxy", "Iterator", "Error", "AggregateError",
  "RangeError", "TypeError", "ArrayBuffer",
  "SharedArrayBuffer", "DataView", "Uint8Array"];
// Of these only that they are there: what libraries take of them is their parents'.
const OTHER_CLASSES = ["EvalError", "ReferenceError", "SyntaxError", "URIError", "Int8Array",
  "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "Float16Array",
  "Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array"];
const NAMESPACES = ["Math", "JSON", "Reflect", "Atomics"];
const FUNCTIONS = ["globalThis", "parseInt", "parseFloat", "isNaN", "isFinite", "decodeURI",
  "decodeURIComponent", "encodeURI", "encodeURIComponent", "escape", "unescape", "eval"];

// Owner after owner: the owner, how many properties it has, and the key and the value of each;
// an accessor's getter and setter are in a list of their own. Every saved heap has this.
const kept = [];
const accessors = [];
const ACCESSOR = { __proto__: null };
let isWithin = false;
let undone; // what is to be undone then
// To ask for it makes all of Temporal, and has heaps searched for values of Temporal.
const LAZY = "toTemporalInstant";

function keep(owner, keys = ownKeys(owner)) {
  let end = kept.length;
  kept[end++] = owner;
  kept[end++] = keys.length;
  for (let i = 0; i < keys.length; i++) {
    // There is no user code yet, so what the descriptor inherits is V8's own.
    const descriptor = keys[i] === LAZY ? undefined : getOwnPropertyDescriptor(owner, keys[i]);
    const isAccessor = descriptor !== undefined && "get" in descriptor;
    kept[end++] = keys[i];
    kept[end++] = isAccessor ? ACCESSOR : descriptor?.value;
    if (!isAccessor) continue;
    accessors[accessors.length] = descriptor.get;
    accessors[accessors.length] = descriptor.set;
  }
}

/** Remembers the built-ins; called before there is any user code. */
exports.remember = function remember() {
  const names = [...CLASSES, ...OTHER_CLASSES, ...NAMESPACES, ...FUNCTIONS];
  keep(globalThis, names.filter((name) => hasOwn(globalThis, name)));
  for (const name of CLASSES) {
    const builtin = globalThis[name];
    if (builtin === undefined) continue;
    keep(builtin);
    if (builtin.prototype !== undefined) keep(builtin.prototype);
  }
  for (const name of NAMESPACES) keep(globalThis[name]);
  const typed = getPrototype(Uint8Array);
  const generator = getPrototype(function* () {});
  const asyncGenerator = getPrototype(async function* () {});
  for (const owner of [typed, typed.prototype, generator, generator.prototype, asyncGenerator,
    asyncGenerator.prototype, getPrototype(asyncGenerator.prototype),
    getPrototype(async () => {}), getPrototype([].values()), getPrototype(""[Symbol.iterator]()),
    getPrototype(new Map().keys()), getPrototype(new Set().keys()),
    getPrototype("".matchAll(/x/g))]) keep(owner);
};

const plain = (value) => ({ __proto__: null, value, writable: true, configurable: true });

/** Sets a property; the user may have made it unchangeable. */
function put(owner, key, descriptor) {
  try {
    if (descriptor === undefined) delete owner[key];
    else defineProperty(owner, key, descriptor);
  } catch {
    // Then it stays the user's.
  }
}

/** Notes how a property of a built-in stands, and sets another. */
function change(changes, owner, key, descriptor) {
  changes[changes.length++] =
    { __proto__: null, owner, key, descriptor: getDescriptor(owner, key) };
  put(owner, key, descriptor);
}

/** Puts an accessor back if it is another. */
function putAccessor(changes, owner, key, get, set) {
  const now = getOwnPropertyDescriptor(owner, key);
  if (now !== undefined && ownValue(now, "get") === get && ownValue(now, "set") === set) return;
  change(changes, owner, key,
    { __proto__: null, get, set, enumerable: false, configurable: true });
}

/** Puts a built-in back if it is another. */
function putValue(changes, owner, key, value) {
  const now = getOwnPropertyDescriptor(owner, key);
  const isSame = now !== undefined && hasOwn(now, "value") &&
    (now.value === value || value !== value);
  if (!isSame) change(changes, owner, key, plain(value));
}

/** Takes away what user code has added to a built-in: it has `count` keys, from `start` on. */
function takeAway(changes, owner, start, count) {
  const keys = ownKeys(owner);
  if (keys.length === count) return; // as what was deleted is back by now
  const known = { __proto__: null };
  for (let i = 0; i < count; i++) known[kept[start + 2 * i]] = true;
  for (let i = 0; i < keys.length; i++) {
    if (!(keys[i] in known)) change(changes, owner, keys[i], undefined);
  }
}

/** Puts all built-ins back; what has changed, to be undone. */
function restore() {
  const changes = { __proto__: null, length: 0 }; // an array would ask Array.prototype for `0`
  let seen = 0; // accessors
  for (let start = 0; start < kept.length;) {
    const owner = kept[start];
    const count = kept[start + 1];
    start += 2;
    for (let i = start; i < start + 2 * count; i += 2) {
      const key = kept[i];
      const value = kept[i + 1];
      if (key === LAZY) continue;
      if (value !== ACCESSOR) putValue(changes, owner, key, value);
      else {
        putAccessor(changes, owner, key, accessors[seen], accessors[seen + 1]);
        seen += 2;
      }
    }
    if (owner !== globalThis) takeAway(changes, owner, start, count);
    start += 2 * count;
  }
  return changes;
}

function run(action, changes) {
  isWithin = true;
  undone = changes;
  try {
    return action();
  } finally {
    undo();
  }
}

/** Has the built-ins as the user has made them. */
function undo() {
  const changes = undone;
  isWithin = false;
  undone = undefined;
  for (let i = changes.length - 1; i >= 0; i--) {
    put(changes[i].owner, changes[i].key, changes[i].descriptor);
  }
}

/** After a termination, which may have come while the built-ins were what they were. */
exports.recover = () => {
  if (isWithin) undo();
};

const TypedArrayPrototype = getPrototype(Uint8Array.prototype);
const asked = [[Array.prototype, Symbol.iterator], [Map.prototype, Symbol.iterator],
  [Set.prototype, Symbol.iterator], [TypedArrayPrototype, Symbol.iterator],
  [TypedArrayPrototype, "length"], [Uint8Array.prototype, "length"],
  [Iterator.prototype, Symbol.iterator], [Array.prototype, "splice"], [Array.prototype, "includes"],
  [ArrayBuffer.prototype, "byteLength"]]
  .map(([owner, key]) => ({ owner, key, was: getDescriptor(owner, key) }));

// The library's own lists inherit elements that user code has put onto all arrays or all objects;
// a push that fails at one is caught there, and what was pushed is left out. These lists are
// short: the names of an error's own properties.
const EMPTY = [];
const ELEMENTS = 8;

// What the library's own descriptors would inherit.
const FIELDS = ["value", "get", "set", "writable", "enumerable", "configurable"];

/**
 * Shows values, which the library asks whether they can be iterated and how long they are; where
 * that has been changed, it would show them as other things and throw nothing.
 * @param {() => string} action
 */
exports.showing = function showing(action) {
  for (let i = 0; i < FIELDS.length; i++) {
    if (hasOwn(ObjectPrototype, FIELDS[i])) return exports.within(action);
  }
  for (let i = 0; i < ELEMENTS; i++) if (i in EMPTY) return exports.within(action);
  for (let i = 0; i < asked.length; i++) {
    const { owner, key, was } = asked[i];
    const now = getOwnPropertyDescriptor(owner, key);
    if ((now === undefined) !== (was === undefined) || now?.value !== was?.value ||
      now?.get !== was?.get) return exports.within(action);
  }
  try {
    return action();
  } catch (error) {
    const changes = isWithin ? undefined : restore();
    if (changes === undefined || changes.length === 0) throw error;
    try {
      return run(action, changes);
    } catch {
      throw error; // the reason is another
    }
  }
};

/**
 * Does something while the built-ins are what they were; afterwards they are the user's again.
 * @param {() => unknown} action runs nothing of the user's
 */
exports.within = (action) => (isWithin ? action() : run(action, restore()));

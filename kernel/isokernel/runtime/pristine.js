"use strict";
// The built-ins as they were before any user code ran, for modules that are loaded later: what
// libraries take from built-ins when they are loaded must not be what a cell has made of them.

const { ObjectPrototype, defineProperty, getDescriptor, getOwnPropertyDescriptor, getPrototype,
  hasOwn, ownKeys } = require("intrinsics");

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

// By owner: which properties it has, and their values; accessors as descriptors of their own.
const owners = [];
const keysOf = [];
const valuesOf = [];
const accessorsOf = [];
let isWithin = false;
let undone; // what is to be undone then
// To ask for it makes all of Temporal, and has heaps searched for values of Temporal.
const LAZY = "toTemporalInstant";

function keep(owner, keys = ownKeys(owner)) {
  const values = [];
  const accessors = [];
  for (let i = 0; i < keys.length; i++) {
    // There is no user code yet, so what the descriptor inherits is V8's own.
    const descriptor = keys[i] === LAZY ? undefined : getOwnPropertyDescriptor(owner, keys[i]);
    values[i] = descriptor?.value;
    accessors[i] = descriptor === undefined || "value" in descriptor
      ? undefined
      : getDescriptor(owner, keys[i]);
  }
  const at = owners.length;
  owners[at] = owner;
  keysOf[at] = keys;
  valuesOf[at] = values;
  accessorsOf[at] = accessors;
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

/** Puts a built-in back if it is another; notes what stood there. */
function putBack(changes, owner, key, value, accessor) {
  const now = getDescriptor(owner, key);
  const isSame = accessor === undefined
    ? now !== undefined && hasOwn(now, "value") && (now.value === value || value !== value)
    : now !== undefined && now.get === accessor.get && now.set === accessor.set;
  if (isSame) return;
  changes[changes.length++] = { __proto__: null, owner, key, descriptor: now };
  put(owner, key, accessor ?? plain(value));
}

/** Takes away what user code has added to a built-in. */
function takeAway(changes, owner, kept) {
  const keys = ownKeys(owner);
  if (keys.length === kept.length) return; // as what was deleted is back by now
  const known = { __proto__: null };
  for (let i = 0; i < kept.length; i++) known[kept[i]] = true;
  for (let i = 0; i < keys.length; i++) {
    if (keys[i] in known) continue;
    changes[changes.length++] = { __proto__: null, owner, key: keys[i],
      descriptor: getDescriptor(owner, keys[i]) };
    put(owner, keys[i], undefined);
  }
}

/** Puts all built-ins back; what has changed, to be undone. */
function restore() {
  const changes = { __proto__: null, length: 0 }; // an array would ask Array.prototype for `0`
  for (let i = 0; i < owners.length; i++) {
    const owner = owners[i];
    const keys = keysOf[i];
    const values = valuesOf[i];
    const accessors = accessorsOf[i];
    for (let k = 0; k < keys.length; k++) {
      if (keys[k] !== LAZY) putBack(changes, owner, keys[k], values[k], accessors[k]);
    }
    if (owner !== globalThis) takeAway(changes, owner, keys);
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

"use strict";
// The built-ins as they were before any user code ran, for modules that are loaded later: what
// libraries take from built-ins when they are loaded must not be what a cell has made of them.

const { defineProperty, getDescriptor, getPrototype, hasOwn, ownKeys } = require("intrinsics");

const CLASSES = ["Object", "Function", "Array", "String", "Number", "Boolean", "Symbol", "BigInt",
  "Date", "RegExp", "Promise", "Map", "Set", "WeakMap", "WeakSet", "WeakRef",
  "FinalizationRegistry", "Proxy", "Iterator", "Error", "AggregateError",
  "RangeError", "TypeError", "ArrayBuffer",
  "SharedArrayBuffer", "DataView", "Uint8Array"];
const NAMESPACES = ["Math", "JSON", "Reflect", "Atomics"];
const FUNCTIONS = ["globalThis", "parseInt", "parseFloat", "isNaN", "isFinite", "decodeURI",
  "decodeURIComponent", "encodeURI", "encodeURIComponent", "escape", "unescape", "eval"];

// By owner: which properties it has, and their values; accessors as descriptors of their own.
const owners = [];
const keysOf = [];
const valuesOf = [];
const accessorsOf = [];
let isWithin = false;

function keep(owner, keys = ownKeys(owner)) {
  const values = [];
  const accessors = [];
  for (let i = 0; i < keys.length; i++) {
    const descriptor = getDescriptor(owner, keys[i]);
    values[i] = descriptor?.value;
    accessors[i] = descriptor === undefined || "value" in descriptor ? undefined : descriptor;
  }
  const at = owners.length;
  owners[at] = owner;
  keysOf[at] = keys;
  valuesOf[at] = values;
  accessorsOf[at] = accessors;
}

/** Remembers the built-ins; called before there is any user code. */
exports.remember = function remember() {
  const names = [...CLASSES, ...NAMESPACES, ...FUNCTIONS];
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
  changes[changes.length] = { __proto__: null, owner, key, descriptor: now };
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
    changes[changes.length] = { __proto__: null, owner, key: keys[i],
      descriptor: getDescriptor(owner, keys[i]) };
    put(owner, keys[i], undefined);
  }
}

/** Puts all built-ins back; what has changed, to be undone. */
function restore() {
  const changes = [];
  for (let i = 0; i < owners.length; i++) {
    const owner = owners[i];
    const keys = keysOf[i];
    const values = valuesOf[i];
    const accessors = accessorsOf[i];
    for (let k = 0; k < keys.length; k++) putBack(changes, owner, keys[k], values[k], accessors[k]);
    if (owner !== globalThis) takeAway(changes, owner, keys);
  }
  return changes;
}

function run(action, changes) {
  isWithin = true;
  try {
    return action();
  } finally {
    isWithin = false;
    for (let i = changes.length - 1; i >= 0; i--) {
      put(changes[i].owner, changes[i].key, changes[i].descriptor);
    }
  }
}

const iterated = [Array, Map, Set].map(({ prototype }) => ({
  prototype, iterator: prototype[Symbol.iterator],
}));
const ITERATOR = Symbol.iterator;

/**
 * Shows values, by which the library tells whether they can be iterated; that some can't be any
 * more makes it show them as other things.
 * @param {() => string} action
 */
exports.showing = function showing(action) {
  for (let i = 0; i < iterated.length; i++) {
    const { prototype, iterator } = iterated[i];
    if (getDescriptor(prototype, ITERATOR)?.value !== iterator) return exports.within(action);
  }
  try {
    return action();
  } catch (error) {
    const changes = isWithin ? [] : restore();
    if (changes.length === 0) throw error;
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

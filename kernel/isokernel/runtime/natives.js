"use strict";
// What Node.js's util.inspect asks of its engine, answered by V8 through the host. The npm
// package emulates these parts by guessing; the build makes it take ours in their place, under
// the numbers that its own bundle gives its parts.

const { Proxy, RegExp, Symbol, defineProperty, exec, functionToString, getDescriptor,
  getOwnPropertyDescriptor, getSymbols, hasOwn, indexOf, isArray, keys, max, min,
  numberToString, push, slice, toLowerCase, uncurry } = require("intrinsics");
const { isError } = require("errors");
const { constructorName, namedProperties, previewEntries, promiseDetails, proxyDetails, typeOf } =
  host;

const ALL_PROPERTIES = 0;
const ONLY_ENUMERABLE = 2;
const SHORT = 32; // items of an array whose indices are listed
const PENDING = 0;
const REJECTED = 2;
const ASYNC_GENERATOR = /^async\s*(?:function\s*)?\*/;
const TYPED_ARRAYS = { __proto__: null, Int8Array: 1, Uint8Array: 1, Uint8ClampedArray: 1,
  Int16Array: 1, Uint16Array: 1, Int32Array: 1, Uint32Array: 1, Float16Array: 1,
  Float32Array: 1, Float64Array: 1, BigInt64Array: 1, BigUint64Array: 1 };
const BOXES = { __proto__: null, NumberObject: 1, StringObject: 1, BooleanObject: 1,
  BigIntObject: 1, SymbolObject: 1 };

// Of each value the library asks what it is a dozen times in a row, and to ask V8 costs
// microseconds.
let lastValue;
let lastBrand;

function brandOf(value) {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) {
    return typeOf(value);
  }
  if (value !== lastValue) {
    lastBrand = typeOf(value);
    lastValue = value;
  }
  return lastBrand;
}

/** Forgets the value that was looked at last, so that it can be collected. */
exports.forget = () => {
  lastValue = undefined;
};

const is = (brand) => (value) => brandOf(value) === brand;

/** Own properties that are no array indices; listing indices would cost their number. */
function getOwnNonIndexProperties(object, filter = ONLY_ENUMERABLE) {
  // Most arrays are short and have none, which can be seen without asking V8.
  if (filter === ONLY_ENUMERABLE && isArray(object) && object.length <= SHORT) {
    const names = keys(object);
    const { length } = names;
    const isDense = length === object.length &&
      (length === 0 || names[length - 1] === `${length - 1}`);
    if (isDense && getSymbols(object).length === 0) return [];
  }
  return namedProperties(object, filter) ?? [];
}

const util = {
  constants: { kPending: PENDING, kRejected: REJECTED, ALL_PROPERTIES, ONLY_ENUMERABLE },
  getOwnNonIndexProperties,
  getPromiseDetails: promiseDetails,
  getProxyDetails(value, both = true) {
    // It is the first question about each value, and the answer is kept for all others.
    if (brandOf(value) !== "Proxy") return undefined;
    const details = proxyDetails(value);
    return details === undefined || both ? details : details[0];
  },
  Proxy,
  previewEntries(value, isIterator) {
    const details = previewEntries(value) ?? [[], false];
    return isIterator ? details : details[0];
  },
  getConstructorName: constructorName,
  getExternalValue: () => 0n,
};

const types = {
  isAsyncFunction: is("AsyncFunction"),
  // An async generator has the brand of async functions; its text tells.
  isGeneratorFunction: (value) => {
    const brand = brandOf(value);
    return brand === "GeneratorFunction" ||
      (brand === "AsyncFunction" && exec(ASYNC_GENERATOR, functionToString(value)) !== null);
  },
  isAnyArrayBuffer: (value) => {
    const brand = brandOf(value);
    return brand === "ArrayBuffer" || brand === "SharedArrayBuffer";
  },
  isBoxedPrimitive: (value) => brandOf(value) in BOXES,
  isTypedArray: (value) => brandOf(value) in TYPED_ARRAYS,
  isArrayBuffer: is("ArrayBuffer"),
  isArgumentsObject: is("Arguments"),
  isDataView: is("DataView"),
  isDate: is("Date"),
  isExternal: is("External"),
  isMap: is("Map"),
  isMapIterator: is("MapIterator"),
  isModuleNamespaceObject: is("ModuleNamespace"),
  isNativeError: is("Error"),
  isPromise: is("Promise"),
  isRegExp: is("RegExp"),
  isSet: is("Set"),
  isSetIterator: is("SetIterator"),
  isWeakMap: is("WeakMap"),
  isWeakSet: is("WeakSet"),
  isNumberObject: is("NumberObject"),
  isStringObject: is("StringObject"),
  isBooleanObject: is("BooleanObject"),
  isBigIntObject: is("BigIntObject"),
  isSymbolObject: is("SymbolObject"),
};

const flags = [];
for (const [name, flag] of [["hasIndices", "d"], ["global", "g"], ["ignoreCase", "i"],
  ["multiline", "m"], ["dotAll", "s"], ["unicode", "u"], ["unicodeSets", "v"], ["sticky", "y"]]) {
  flags.push({ flag, isSet: uncurry(getDescriptor(RegExp.prototype, name).get) });
}
const sourceOf = uncurry(getDescriptor(RegExp.prototype, "source").get);

/** As RegExp.prototype.toString, which asks for properties that user code may have changed. */
function regExpToString(regExp) {
  let text = `/${sourceOf(regExp)}/`;
  for (let i = 0; i < flags.length; i++) if (flags[i].isSet(regExp)) text += flags[i].flag;
  return text;
}


const PROPERTIES_MAX = 1000; // of one object
const STACK_EDGE = 10000; // characters of a stack's head and of its tail
const INDICES_TRIED = 10000; // of a sparse array

/** Characters of one value's text; beyond, only the first level goes on. */
exports.TEXT_MAX = 1 << 20;

/** The keys of a String object that are no indices; undefined for anything else. */
exports.stringKeys = function stringKeys(value, showHidden) {
  // Its length tells it from all that is usual; asking V8 for the brand costs microseconds.
  const length = getOwnPropertyDescriptor(value, "length");
  if (length === undefined || length.configurable || length.writable) return undefined;
  if (brandOf(value) !== "StringObject") return undefined;
  return getOwnNonIndexProperties(value, showHidden ? ALL_PROPERTIES : ONLY_ENUMERABLE);
};

/** Adds to a list, however much. */
exports.add = function add(list, items) {
  for (let i = 0; i < items.length; i++) push(list, items[i]);
};

/** The first indices of an array, as keys: enough of them for so many items. */
exports.indices = function indices(array, count) {
  const found = [];
  for (let i = 0; i < INDICES_TRIED && found.length < count; i++) {
    if (hasOwn(array, i)) push(found, `${i}`);
  }
  return found.length < count ? keys(array) : found;
};

/** Drops the keys that are too many; gives their number. */
exports.cutKeys = function cutKeys(names, { maxArrayLength }) {
  const left = names.length - max(PROPERTIES_MAX, maxArrayLength);
  if (left <= 0) return 0;
  names.length -= left;
  return left;
};

exports.leftOut = (count) => `... ${count} more propert${count > 1 ? "ies" : "y"}`;

/** A stack whose middle is left out if it is long, as its error's message may be. */
exports.shortStack = function shortStack(stack) {
  const gone = stack.length - 2 * STACK_EDGE;
  if (gone <= 0) return stack;
  return `${slice(stack, 0, STACK_EDGE)}... ${gone} more characters ...${slice(stack, -STACK_EDGE)}`;
};

const PROTOTYPE = "Prototype";
const STATIC =
  /^(Array|Date|Error|JSON|Math|Number|Object|Proxy|Reflect|RegExp|String|Symbol)([A-Z]\w*)$/;
const GET = /^Get([A-Z]\w*)$/;
const SYMBOL = /^Symbol([A-Z]\w*)$/;
const startsSmall = (name) => toLowerCase(slice(name, 0, 1)) + slice(name, 1);

/** The key that Node.js calls `name`: `isArray` for IsArray, Symbol.iterator for SymbolIterator. */
function keyOf(name) {
  const symbol = exec(SYMBOL, name);
  return symbol === null ? startsSmall(name) : Symbol[startsSmall(symbol[1])];
}

function method(owner, name) {
  const own = getDescriptor(owner, keyOf(name));
  if (own !== undefined) return uncurry(own.value);
  const getter = exec(GET, name);
  return getter === null ? undefined : uncurry(getDescriptor(owner, keyOf(getter[1])).get);
}

/**
 * The package's own copies of built-ins, by the names that they have in Node.js: each is made when
 * it is asked for. What the package has made itself is in the object that inherits this.
 */
exports.builtins = new Proxy({ __proto__: null }, {
  __proto__: null,
  get(_, name, known) {
    if (typeof name !== "string") return undefined;
    if (name === "ArrayPrototypePushApply") return known.applyBind(Array.prototype.push);
    const found = exec(STATIC, name);
    const value = found === null ? undefined : globalThis[found[1]]?.[startsSmall(found[2])];
    if (value !== undefined) return value;
    const at = indexOf(name, PROTOTYPE);
    if (at < 0) return undefined;
    const end = at + PROTOTYPE.length;
    const prototype = known[slice(name, 0, at)]?.prototype;
    if (end === name.length) return prototype;
    return method(prototype ?? known[slice(name, 0, end)], slice(name, end));
  },
});

/**
 * Puts ours in place of the package's parts. The build makes the bundle call it.
 * @param {Record<number, Function>} parts by webpack's numbers in version 3.3.3
 */
exports.adapt = function adapt(parts) {
  const primordials = parts[683];
  parts[683] = function (module, exported, load) {
    primordials(module, exported, load);
    module.exports = { __proto__: module.exports, ObjectGetOwnPropertyDescriptor: getDescriptor,
      ObjectDefineProperty: defineProperty, RegExpPrototypeToString: regExpToString,
      JSONStringify: (value) => require("json").stringifyWithin(value, require("output").limit()) };
  };
  parts[537] = (module, exported) => {
    exported.h = class {
      hexSlice(start, end) {
        let text = "";
        for (let i = start ?? 0; i < min(end ?? this.length, this.length); i++) {
          text += slice(numberToString(this[i] + 256, 16), 1);
        }
        return text;
      }
    };
  };
  // It would load this part later, with built-ins that code may have changed by then.
  const entry = parts[223];
  parts[223] = function (module, exported, load) {
    load(812);
    entry(module, exported, load);
  };
  const emulated = parts[101];
  parts[101] = function (module, exported, load) {
    emulated(module, exported, load);
    module.exports.isError = isError;
  };
  parts[499] = (module) => {
    module.exports = types;
  };
  parts[727] = (module) => {
    module.exports = util;
  };
  // Only asked for file names in coloured stack traces; the real URL need not be loaded.
  parts[878] = (module) => {
    module.exports = class NoURL {};
  };
};

"use strict";
// What Node.js's util.inspect asks of its engine, answered by V8 through the host. The npm
// package emulates these parts by guessing; the build makes it take ours in their place, under
// the numbers that its own bundle gives its parts.

const { defineProperty, exec, functionToString, getDescriptor, getPrototype, min, numberToString,
  ownKeys, slice, uncurry } = require("intrinsics");
const { typeOf, constructorName, promiseDetails, previewEntries, proxyDetails } = host;

const ALL_PROPERTIES = 0;
const ONLY_ENUMERABLE = 2;
const PENDING = 0;
const REJECTED = 2;
const INDEX = /^(?:0|[1-9][0-9]*)$/;
const LARGEST_INDEX = 2 ** 32 - 2;
const ASYNC_GENERATOR = /^async\s*(?:function\s*)?\*/;
const TYPED_ARRAYS = { __proto__: null, Int8Array: 1, Uint8Array: 1, Uint8ClampedArray: 1,
  Int16Array: 1, Uint16Array: 1, Int32Array: 1, Uint32Array: 1, Float16Array: 1,
  Float32Array: 1, Float64Array: 1, BigInt64Array: 1, BigUint64Array: 1 };
const BOXES = { __proto__: null, NumberObject: 1, StringObject: 1, BooleanObject: 1,
  BigIntObject: 1, SymbolObject: 1 };

const is = (brand) => (value) => typeOf(value) === brand;

/** Own properties that are no array indices, as V8's KeyCollectionMode gives them. */
function getOwnNonIndexProperties(object, filter = ONLY_ENUMERABLE) {
  const found = [];
  const keys = ownKeys(object);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (typeof key === "string" && exec(INDEX, key) !== null && +key <= LARGEST_INDEX) continue;
    if (filter === ONLY_ENUMERABLE && !getDescriptor(object, key)?.enumerable) continue;
    found[found.length] = key;
  }
  return found;
}

const util = {
  constants: { kPending: PENDING, kRejected: REJECTED, ALL_PROPERTIES, ONLY_ENUMERABLE },
  getOwnNonIndexProperties,
  getPromiseDetails: promiseDetails,
  getProxyDetails(value, both = true) {
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
    const brand = typeOf(value);
    return brand === "GeneratorFunction" ||
      (brand === "AsyncFunction" && exec(ASYNC_GENERATOR, functionToString(value)) !== null);
  },
  isAnyArrayBuffer: (value) => {
    const brand = typeOf(value);
    return brand === "ArrayBuffer" || brand === "SharedArrayBuffer";
  },
  isBoxedPrimitive: (value) => typeOf(value) in BOXES,
  isTypedArray: (value) => typeOf(value) in TYPED_ARRAYS,
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

/** Whether Error.prototype is on the prototype chain, asked without running a proxy's traps. */
function isError(value) {
  if (typeOf(value) === "Error") return true;
  while (value !== null && (typeof value === "object" || typeof value === "function")) {
    if (proxyDetails(value) !== undefined) return false;
    if (value === Error.prototype) return true;
    value = getPrototype(value);
  }
  return false;
}

exports.isError = isError;

/**
 * Puts ours in place of the package's parts. The build makes the bundle call it.
 * @param {Record<number, Function>} parts by webpack's numbers in version 3.3.3
 */
exports.adapt = function adapt(parts) {
  const primordials = parts[683];
  parts[683] = function (module, exported, load) {
    primordials(module, exported, load);
    module.exports = { __proto__: module.exports, ObjectGetOwnPropertyDescriptor: getDescriptor,
      ObjectDefineProperty: defineProperty, RegExpPrototypeToString: regExpToString };
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

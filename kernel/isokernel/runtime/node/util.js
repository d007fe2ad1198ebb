"use strict";
// node:util: Node.js's own inspect and format, V8's answers to what a value is, and the rest.

const { refusedClass } = require("node/stubs");

const { INSPECT } = require("text");
const library = require("vendor/inspect");

const { brand, proxyDetails } = host;
const CUSTOM = Symbol.for("nodejs.util.promisify.custom");

// -- what a value is -------------------------------------------------------------------------

const BRANDS = { isArgumentsObject: "Arguments", isArrayBuffer: "ArrayBuffer",
  isBigIntObject: "BigIntObject", isBooleanObject: "BooleanObject", isDataView: "DataView",
  isDate: "Date", isExternal: "External", isGeneratorObject: "GeneratorObject", isMap: "Map",
  isMapIterator: "MapIterator", isModuleNamespaceObject: "ModuleNamespace",
  isNativeError: "Error", isNumberObject: "NumberObject", isPromise: "Promise",
  isRegExp: "RegExp", isSet: "Set", isSetIterator: "SetIterator",
  isSharedArrayBuffer: "SharedArrayBuffer", isStringObject: "StringObject",
  isSymbolObject: "SymbolObject", isWeakMap: "WeakMap", isWeakSet: "WeakSet",
  isBigInt64Array: "BigInt64Array", isBigUint64Array: "BigUint64Array",
  isFloat16Array: "Float16Array", isFloat32Array: "Float32Array", isFloat64Array: "Float64Array",
  isInt16Array: "Int16Array", isInt32Array: "Int32Array", isInt8Array: "Int8Array",
  isUint16Array: "Uint16Array", isUint32Array: "Uint32Array", isUint8Array: "Uint8Array",
  isUint8ClampedArray: "Uint8ClampedArray" };

const isObject = (value) =>
  (typeof value === "object" && value !== null) || typeof value === "function";
const brandOf = (value) => (isObject(value) ? brand(value) : "");

const types = {
  isAnyArrayBuffer: (value) => /^(Shared)?ArrayBuffer$/.test(brandOf(value)),
  isArrayBufferView: (value) => ArrayBuffer.isView(value),
  isAsyncFunction: (value) => brandOf(value) === "AsyncFunction",
  isBoxedPrimitive: (value) => /^(Number|String|Boolean|Symbol|BigInt)Object$/.test(brandOf(value)),
  isCryptoKey: () => false,
  isGeneratorFunction: (value) => brandOf(value) === "GeneratorFunction",
  isKeyObject: () => false,
  isProxy: (value) => isObject(value) && proxyDetails(value) !== undefined,
  isTypedArray: (value) => ArrayBuffer.isView(value) && brandOf(value) !== "DataView",
};
for (const [name, kind] of Object.entries(BRANDS)) types[name] = (value) => brandOf(value) === kind;

// -- functions -------------------------------------------------------------------------------

/** A function that takes a callback as one that returns a promise. */
function promisify(original) {
  if (typeof original !== "function") {
    const error = new TypeError('The "original" argument must be of type function');
    error.code = "ERR_INVALID_ARG_TYPE";
    throw error;
  }
  if (original[CUSTOM]) return original[CUSTOM];
  const made = function (...args) {
    return new Promise((resolve, reject) => {
      Reflect.apply(original, this, [...args, (error, ...values) => {
        if (error) reject(error);
        else resolve(values[0]);
      }]);
    });
  };
  Object.setPrototypeOf(made, Object.getPrototypeOf(original));
  return Object.defineProperties(made, Object.getOwnPropertyDescriptors(original));
}
promisify.custom = CUSTOM;

/** A function that returns a promise as one that takes a callback. */
function callbackify(original) {
  return function (...args) {
    const callback = args.pop();
    Reflect.apply(original, this, args).then(
      (value) => process.nextTick(callback, null, value),
      (reason) => process.nextTick(callback, reason ?? new Error("a promise was rejected"), undefined),
    );
  };
}

const warned = new Set();

/** A function that prints once that it should not be used any more. */
function deprecate(original, message, code) {
  let isTold = false;
  return function (...args) {
    if (!isTold && !warned.has(code)) {
      process.emitWarning(message, "DeprecationWarning", code);
      if (code !== undefined) warned.add(code);
    }
    isTold = true;
    return new.target ? Reflect.construct(original, args, new.target)
      : Reflect.apply(original, this, args);
  };
}

function inherits(constructor, parent) {
  Object.defineProperty(constructor, "super_", { value: parent, writable: true, configurable: true });
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
}

function debuglog(section) {
  const isOn = () => new RegExp(`\\b${section}\\b`, "i").test(process.env.NODE_DEBUG ?? "");
  const log = (...args) => {
    if (isOn()) console.error(`${section.toUpperCase()} 0: ${library.format(...args)}`);
  };
  return Object.defineProperty(log, "enabled", { get: isOn });
}

function isDeepStrictEqual(one, other) {
  try {
    require("vendor/node/core").assert.deepStrictEqual(one, other);
    return true;
  } catch {
    return false;
  }
}

// -- texts -----------------------------------------------------------------------------------

const VT = new RegExp("[\\u001B\\u009B][[\\]()#;?]*(?:(?:(?:(?:;[-a-zA-Z\\d\\/\\#&.:=?%@~_]+)*" +
  "|[a-zA-Z\\d]+(?:;[-a-zA-Z\\d\\/\\#&.:=?%@~_]*)*)?(?:\\u0007|\\u001B\\u005C|\\u009C))" +
  "|(?:(?:\\d{1,4}(?:;\\d{0,4})*)?[\\dA-PR-TZcf-nq-uy=><~]))", "g");

function styleText(format, text) {
  let styled = `${text}`;
  for (const name of [format].flat().reverse()) {
    if (name === "none") continue;
    const codes = library.inspect.colors[name];
    if (codes === undefined) throw new TypeError(`There is no style ${name}`);
    styled = `\u001b[${codes[0]}m${styled}\u001b[${codes[1]}m`;
  }
  return styled;
}

/** What stands in a file of environment variables. */
function parseEnv(content) {
  const found = {};
  const line = /^\s*(?:export\s+)?([\w.-]+)\s*=\s*(?:"((?:\\"|[^"])*)"|'([^']*)'|([^#\n]*))/gm;
  for (const [, name, double, single, plain] of `${content}`.matchAll(line)) {
    found[name] = double?.replaceAll("\\n", "\n") ?? single ?? plain.trim();
  }
  return found;
}

function parseArgs({ args = [], options = {}, strict = true, allowPositionals = !strict } = {}) {
  const values = { __proto__: null };
  const positionals = [];
  const shorts = Object.fromEntries(
    Object.entries(options).map(([name, { short }]) => [short, name]));
  const fail = (code, message) => {
    throw Object.assign(new TypeError(message), { code });
  };
  const put = (name, value) => {
    const option = options[name];
    if (option === undefined && strict) {
      fail("ERR_PARSE_ARGS_UNKNOWN_OPTION", `Unknown option '--${name}'`);
    }
    if (strict && (option.type === "string") !== (typeof value === "string")) {
      fail("ERR_PARSE_ARGS_INVALID_OPTION_VALUE", `Option '--${name}' ` +
        (option.type === "string" ? "argument missing" : "does not take an argument"));
    }
    if (option?.multiple) (values[name] ??= []).push(value);
    else values[name] = value;
  };
  for (let i = 0; i < args.length; i++) {
    const text = args[i];
    const long = /^--([^=]+)(?:=([^]*))?$/.exec(text);
    const short = /^-([^-])([^]*)$/.exec(text);
    if (text === "--") {
      positionals.push(...args.slice(i + 1));
      break;
    } else if (long !== null) {
      const [, name, given] = long;
      const takes = options[name]?.type === "string";
      put(name, given ?? (takes ? args[(i += 1)] : true));
    } else if (short !== null) {
      const name = shorts[short[1]] ?? short[1];
      const takes = options[name]?.type === "string";
      put(name, takes ? short[2] || args[(i += 1)] : true);
    } else if (allowPositionals) positionals.push(text);
    else fail("ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL", `Unexpected argument '${text}'`);
  }
  for (const [name, option] of Object.entries(options)) {
    if (option.default !== undefined) values[name] ??= option.default;
  }
  return { values, positionals };
}

/** A promise that is fulfilled when a signal is aborted. */
const aborted = (signal) =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

const { format, formatWithOptions, inspect } = library;
inspect.custom ??= INSPECT;

module.exports = {
  MIMEType: refusedClass("util", "MIMEType"),
  TextDecoder,
  TextEncoder,
  _extend: (target, source) => Object.assign(target, source),
  aborted,
  callbackify,
  debug: debuglog,
  debuglog,
  deprecate,
  format,
  formatWithOptions,
  getSystemErrorName: (number) => `Unknown system error ${number}`,
  inherits,
  inspect,
  isArray: Array.isArray,
  isBoolean: (value) => typeof value === "boolean",
  isBuffer: (value) => require("node/buffer").Buffer.isBuffer(value),
  isDate: types.isDate,
  isDeepStrictEqual,
  isError: (value) => types.isNativeError(value) || value instanceof Error,
  isFunction: (value) => typeof value === "function",
  isNull: (value) => value === null,
  isNullOrUndefined: (value) => value === null || value === undefined,
  isNumber: (value) => typeof value === "number",
  isObject: (value) => typeof value === "object" && value !== null,
  isPrimitive: (value) => !isObject(value),
  isRegExp: types.isRegExp,
  isString: (value) => typeof value === "string",
  isSymbol: (value) => typeof value === "symbol",
  isUndefined: (value) => value === undefined,
  parseArgs,
  parseEnv,
  promisify,
  stripVTControlCharacters: (text) => text.replace(VT, ""),
  styleText,
  toUSVString: (text) => `${text}`.toWellFormed(),
  transferableAbortController: () => new AbortController(),
  types,
};

"use strict";
// Thrown values as data, from which Python makes an error message with a traceback. Whatever
// was thrown, a proxy or an error whose getters throw, this gives an answer.

const { Error, apply, defineProperty, exec, getDescriptor, getPrototype, hasOwn, isArray, min, ownKeys,
  ownValue, push, Set, setAdd, setHas, slice, toJson } = require("intrinsics");
const { framesOf } = require("stack");
const { inspect } = require("text");
const { owner } = require("owner");
const { constructorName, proxyDetails, reportError, typeOf } = host;

const DEPTH = 5; // causes of causes that are told
const ERRORS = 10; // of an AggregateError
const TEXT = 20000; // characters of an inspected error
const NAME = 1000; // characters of a name
const PROPERTIES = 100; // an error's own ones that are looked at
const PROPERTIES_TEXT = 2000; // characters of them
// What libraries for browsers miss first; see page.js.
const OF_PAGES = /^(?:window|document|DOMParser|(?:HTML|SVG)?Element|Node|XMLSerializer|MutationObserver|getComputedStyle|requestAnimationFrame) is not defined$/;
const PAGE_HINT = " (Jupyter.dom() defines what a browser's page has)";
const USUAL = { __proto__: null, name: 1, message: 1, stack: 1, cause: 1, errors: 1, error: 1,
  suppressed: 1 };

/** Whether Error.prototype is on the prototype chain, asked without running a proxy's traps. */
exports.isError = function isError(value) {
  if (typeOf(value) === "Error") return true;
  while (value !== null && (typeof value === "object" || typeof value === "function")) {
    if (proxyDetails(value) !== undefined) return false;
    if (value === Error.prototype) return true;
    value = getPrototype(value);
  }
  return false;
};

/**
 * Reads a property without running a proxy's traps; getters run, as DOMException has some, and
 * one that throws counts as no property.
 */
function read(object, key) {
  let holder = object;
  while (holder !== null && proxyDetails(holder) === undefined) {
    const descriptor = getDescriptor(holder, key);
    if (descriptor === undefined) {
      holder = getPrototype(holder);
      continue;
    }
    if (descriptor.get === undefined) return descriptor.value;
    try {
      return apply(descriptor.get, object, []);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

const cut = (text, most) =>
  text.length > most ? `${slice(text, 0, most)}… ${text.length - most} more characters` : text;

/** A value's text, also when showing it runs code of the user's that throws. */
function show(value, most = TEXT) {
  try {
    return cut(inspect(value), most);
  } catch {
    return `[${typeof value}]`;
  }
}

/** The error's name; a class without a name of its own is named after its constructor. */
function nameOf(error) {
  const name = read(error, "name");
  if (typeof name !== "string" || name === "") return constructorName(error);
  if (name !== "Error") return cut(name, NAME);
  const own = constructorName(error);
  return own === "" || own === "Object" ? name : own;
}

function messageOf(error) {
  const message = read(error, "message");
  if (typeof message === "string") return cut(message, TEXT);
  return message === undefined ? "" : show(message);
}

function detailOfValue(value) {
  const primitive = value === null || (typeof value !== "object" && typeof value !== "function");
  const ename = value === null ? "null" : primitive ? typeof value : cut(constructorName(value), NAME);
  const evalue = show(value);
  return { __proto__: null, ename, evalue, frames: [], text: evalue };
}

function detailsOf(values, depth, seen) {
  const details = [];
  for (let i = 0; i < min(values.length, ERRORS); i++) {
    push(details, detail(ownValue(values, i), depth, seen));
  }
  return details;
}

/** The errors that an AggregateError or a SuppressedError holds. */
function heldErrors(error, name) {
  if (name === "SuppressedError") return [read(error, "error"), read(error, "suppressed")];
  const errors = hasOwn(error, "errors") ? read(error, "errors") : undefined;
  return isArray(errors) && typeOf(errors) === "Array" ? errors : [];
}

/** What an error has beside what every error has: `{ status: 404 }`; "" if it has nothing. */
function propertiesOf(error) {
  const properties = {};
  const names = ownKeys(error);
  let some = false;
  for (let i = 0; i < names.length && i < PROPERTIES; i++) {
    const descriptor = getDescriptor(error, names[i]);
    if (names[i] in USUAL || !descriptor?.enumerable) continue;
    defineProperty(properties, names[i], descriptor);
    some = true;
  }
  return some ? show(properties, PROPERTIES_TEXT) : "";
}

/** The message, and the next step where code misses a page. */
function adviceOf(ename, message) {
  const isMissing = ename === "ReferenceError" && exec(OF_PAGES, message) !== null;
  return isMissing ? message + PAGE_HINT : message;
}

function detail(value, depth, seen) {
  if (!exports.isError(value)) return detailOfValue(value);
  const ename = nameOf(value);
  const info = {
    __proto__: null,
    ename,
    evalue: adviceOf(ename, messageOf(value)),
    frames: framesOf(value),
    text: show(value),
  };
  if (typeOf(value) === "Error") {
    const properties = propertiesOf(value);
    if (properties !== "") info.properties = properties;
  }
  if (depth >= DEPTH || setHas(seen, value)) return info;
  setAdd(seen, value);
  const cause = hasOwn(value, "cause") ? read(value, "cause") : undefined;
  if (cause !== undefined && !setHas(seen, cause)) info.cause = detail(cause, depth + 1, seen);
  const errors = detailsOf(heldErrors(value, ename), depth + 1, seen);
  if (errors.length > 0) info.errors = errors;
  return info;
}

/**
 * Describes what was thrown.
 * @param {unknown} value
 * @returns {string} JSON: ename, evalue, frames (innermost first), text, properties, cause,
 *   errors
 */
exports.describe = (value) => toJson(detail(value, 0, new Set()));

/**
 * Reports an error that no cell waits for, with the execution that caused it.
 * @param {unknown} value
 * @param {"error" | "rejection" | "display"} kind a display's failure is no more than told
 */
exports.report = function report(value, kind) {
  require("output").flush();
  const id = owner();
  reportError(exports.describe(value), kind, id, require("console").hasLevels(id));
};

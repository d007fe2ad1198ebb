"use strict";
// The web platform's globals, and those of Node.js that packages look for. Each is an accessor that loads its module on first touch and then
// becomes the plain property that it is in a browser: what isn't used costs nothing.

/** @type {Record<string, string[]>} the names that each module has */
const MODULES = {
  "web/abort": ["AbortController", "AbortSignal"],
  "web/base64": ["atob", "btoa"],
  "web/blob": ["Blob", "File"],
  "web/clone": ["structuredClone"],
  "web/compression": ["CompressionStream", "DecompressionStream"],
  "web/crypto": ["Crypto", "CryptoKey", "SubtleCrypto", "crypto"],
  "web/encoding": ["TextDecoder", "TextEncoder"],
  "web/encoding_streams": ["TextDecoderStream", "TextEncoderStream"],
  "web/events": ["CustomEvent", "ErrorEvent", "Event", "EventTarget", "MessageEvent"],
  "web/exception": ["DOMException", "QuotaExceededError"],
  "web/fetch": ["fetch"],
  "web/form_data": ["FormData"],
  "web/headers": ["Headers"],
  "web/messaging": ["MessageChannel", "MessagePort"],
  "web/performance": [
    "Performance",
    "PerformanceEntry",
    "PerformanceMark",
    "PerformanceMeasure",
    "performance",
  ],
  "web/request": ["Request"],
  "web/response": ["Response"],
  "web/streams": [
    "ByteLengthQueuingStrategy",
    "CountQueuingStrategy",
    "ReadableByteStreamController",
    "ReadableStream",
    "ReadableStreamBYOBReader",
    "ReadableStreamBYOBRequest",
    "ReadableStreamDefaultController",
    "ReadableStreamDefaultReader",
    "TransformStream",
    "TransformStreamDefaultController",
    "WritableStream",
    "WritableStreamDefaultController",
    "WritableStreamDefaultWriter",
  ],
  "web/url": ["URL", "URLSearchParams"],
  "web/urlpattern": ["URLPattern"],
};

/** The getters of globals that are loaded on first touch, for those who look without touching. */
const getters = { __proto__: null };

/** Globals of Node.js, and what browsers call the global object. */
const nodeNames = ["Buffer", "global", "navigator", "require", "self"];

/**
 * Define the globals.
 *
 * @param {object} target the global object
 */
function install(target) {
  for (const [module, names] of Object.entries(MODULES)) {
    for (const name of names) defineLazy(target, name, module);
  }
  for (const [name, value] of Object.entries(require("web/microtask"))) {
    define(target, name, value);
  }
  for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) {
    define(target, name, globalListener(name));
  }
}

/**
 * Define the globals of Node.js.
 *
 * @param {object} target the global object
 */
function installNode(target) {
  for (const name of nodeNames) defineLazy(target, name, "node/globals");
}

let globalTarget;

/** The global object is an event target; `error` and the like are not dispatched at it. */
function globalListener(name) {
  const method = {
    [name](...args) {
      globalTarget ??= new (require("web/events").EventTarget)();
      return globalTarget[name](...args);
    },
  };
  return method[name];
}

function defineLazy(target, name, module) {
  const accessor = {
    get [name]() {
      const value = require(module)[name];
      define(target, name, value);
      return value;
    },
    set [name](value) {
      define(target, name, value);
    },
  };
  const { get, set } = Object.getOwnPropertyDescriptor(accessor, name);
  getters[name] = get;
  Object.defineProperty(target, name, { get, set, enumerable: false, configurable: true });
}

function define(target, name, value) {
  const attributes = { writable: true, enumerable: false, configurable: true };
  Object.defineProperty(target, name, { value, ...attributes });
}

module.exports = { getters, install, installNode };

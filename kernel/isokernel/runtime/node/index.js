"use strict";
// Node.js's built-in modules, as far as there is something of them here: each is loaded when it
// is first wanted. docs/modules.md says what each one has.

const { keys, mapGet, mapSet, Map, slice, startsWith } = require("intrinsics");

const core = (name) => () => require("vendor/node/core")[name];
const ours = (name) => () => require(`node/${name}`);

/** @type {Record<string, () => object>} what gives each module its exports */
const MODULES = {
  __proto__: null,
  assert: core("assert"),
  "assert/strict": () => require("vendor/node/core").assert.strict,
  async_hooks: ours("async_hooks"),
  buffer: ours("buffer"),
  console: () => globalThis.console,
  constants: () => ({ ...require("node/os").constants.signals }),
  crypto: ours("crypto"),
  diagnostics_channel: ours("diagnostics_channel"),
  events: ours("events"),
  fs: ours("fs"),
  "fs/promises": ours("fs_promises"),
  module: ours("module"),
  os: ours("os"),
  path: core("path"),
  "path/posix": () => require("vendor/node/core").path.posix,
  "path/win32": () => require("vendor/node/core").path.posix,
  perf_hooks: ours("perf_hooks"),
  process: ours("process"),
  punycode: () => require("vendor/node/punycode").default,
  querystring: ours("querystring"),
  stream: ours("stream"),
  "stream/consumers": () => require("node/stream_more").consumers,
  "stream/promises": () => require("node/stream").promises,
  "stream/web": () => require("node/stream_more").web,
  string_decoder: ours("string_decoder"),
  sys: ours("util"),
  timers: ours("timers"),
  "timers/promises": () => require("node/timers").promises,
  tty: ours("tty"),
  url: ours("url"),
  util: ours("util"),
  "util/types": () => require("node/util").types,
  v8: ours("v8"),
  vm: ours("vm"),
  worker_threads: ours("worker_threads"),
  zlib: ours("zlib"),
};

const { stub, STUBS } = require("node/stubs");
for (const name of STUBS) MODULES[name] ??= () => stub(name);

const SCHEME = "node:";
const loaded = new Map();

/** The name of a module without `node:`; undefined for what is none of Node.js's. */
function nameOf(specifier) {
  const name = startsWith(specifier, SCHEME) ? slice(specifier, SCHEME.length) : specifier;
  return name in MODULES ? name : undefined;
}

/**
 * @param {string} specifier `node:path` or `path`
 * @returns {string | undefined} `node:path`; undefined for what isn't Node.js's
 */
function urlOf(specifier) {
  const name = nameOf(specifier);
  if (name !== undefined) return SCHEME + name;
  if (!startsWith(specifier, SCHEME)) return undefined;
  throw absent(specifier);
}

function absent(url) {
  const error = new Error(`No such built-in module: ${url}`);
  error.code = "ERR_UNKNOWN_BUILTIN_MODULE";
  return error;
}

const isBuiltin = (url) => startsWith(url, SCHEME) && nameOf(url) !== undefined;

/** What a module exports, for `require` and as the default of an import. */
function load(url) {
  const name = nameOf(url);
  if (name === undefined) throw absent(url);
  let exports = mapGet(loaded, name);
  if (exports === undefined) {
    exports = MODULES[name]();
    mapSet(loaded, name, exports);
  }
  return exports;
}

module.exports = { __proto__: null, isBuiltin, load, nameOf, names: () => keys(MODULES),
  namesOf: (url) => keys(load(url)), urlOf };

"use strict";
// Modules of Node.js's older kind, CommonJS: text that is run as a function with `require` and
// `module`, once, at the first `require` or import.

const { apply, defineProperty, replace, startsWith } = require("intrinsics");
const builtins = require("node/index");
const modules = require("modules");

const HEAD = "(function (exports, require, module, __filename, __dirname) {";
const TAIL = "\n})";

/** Gives what a module exports. */
function exportsOf(url) {
  const record = modules.recordOf(url);
  if (record.format !== "esm") return modules.valueOf(record);
  const namespace = modules.evaluateNow(url);
  return "module.exports" in namespace ? namespace["module.exports"] : namespace;
}

/**
 * Makes the `require` of a module.
 * @param {string} referrer its URL; "" for cells
 * @returns {Function}
 */
function requireOf(referrer) {
  function resolve(specifier) {
    if (typeof specifier !== "string" || specifier === "") {
      throw modules.failure("TypeError", "require takes the name of a module, a text",
        "ERR_INVALID_ARG_TYPE");
    }
    return modules.resolveNow(specifier, referrer, "require");
  }
  const require = (specifier) => exportsOf(resolve(specifier));
  defineProperty(require, "name", { __proto__: null, value: "require", configurable: true });
  require.resolve = (specifier) => builtins.nameOf(specifier) ?? modules.pathOf(resolve(specifier));
  require.cache = { __proto__: null };
  require.extensions = { __proto__: null };
  require.main = undefined;
  return require;
}

/** The text as the body of a function; a first line for a shell is a comment. */
const textOf = (source) =>
  HEAD + (startsWith(source, "#!") ? replace(source, "#!", "//") : source) + TAIL;

/**
 * Runs a module, unless it has run.
 * @param {object} record
 * @returns {unknown} what it exports; if it is running, what it has so far
 */
function run(record) {
  if (record.module !== undefined) return record.module.exports;
  const { url, source } = record;
  const filename = modules.pathOf(url);
  const module = { exports: {}, id: filename, filename, path: modules.folderOf(filename), paths: [],
    children: [], loaded: false, parent: null, require: requireOf(url) };
  const { 0: body, 1: script, 2: line, 3: column } = host.runScript(url, textOf(source), HEAD.length);
  if (script !== undefined) {
    require("stack").place(body, script, line, column + 1);
    throw body;
  }
  record.module = module;
  const task = modules.begin(url);
  let isDone = false;
  try {
    apply(body, module.exports,
      [module.exports, module.require, module, filename, module.path]);
    isDone = true;
  } finally {
    if (!isDone) record.module = undefined; // the next one tries again
    modules.leave(task);
  }
  module.loaded = true;
  record.source = "";
  return module.exports;
}

module.exports = { __proto__: null, requireOf, run };

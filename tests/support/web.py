"""The host that the runtime's web modules get on a bare V8."""

from __future__ import annotations

HOST = """
const host = {
  errors: [],
  random: (n) => Uint8Array.from({ length: n }, () => Math.floor(Math.random() * 256)),
  now: () => Date.now() - started,
  reportError: (error) => host.errors.push(String(error)),
  clone(value, seen = new Map()) {
    if (typeof value === "function" || typeof value === "symbol") {
      throw new Error(`${String(value)} could not be cloned.`);
    }
    if (typeof value !== "object" || value === null) return value;
    if (seen.has(value)) return seen.get(value);
    let copy;
    if (value instanceof ArrayBuffer) copy = value.slice();
    else if (value instanceof Date) copy = new Date(value);
    else if (ArrayBuffer.isView(value)) {
      const buffer = host.clone(value.buffer, seen);
      copy = new value.constructor(buffer, value.byteOffset, value.length);
    } else copy = Array.isArray(value) ? [] : {};
    seen.set(value, copy);
    if (!ArrayBuffer.isView(value)) {
      for (const [k, v] of Object.entries(value)) copy[k] = host.clone(v, seen);
    }
    return copy;
  },
};
const started = Date.now();
const modules = new Map();
const loaded = [];
function require(name) {
  if (modules.has(name)) return modules.get(name).exports;
  const module = { exports: {} };
  modules.set(name, module);
  loaded.push(name);
  const body = new Function("exports", "require", "module", "host", sources[name]);
  body(module.exports, require, module, host);
  return module.exports;
}
globalThis.setTimeout = (callback) => void Promise.resolve().then(callback);
modules.set("timers", { exports: { startUnheld: setTimeout } });
require("web/index").install(globalThis);
const lazyNames = Object.keys(require("web/index").getters);
globalThis.internals = { host, loaded, lazyNames };
"""
# What the JavaScript under test may return instead of a value.
CATCH = """
const caught = async (f) => {
  try { return [await f()]; }
  catch (e) { return [e.constructor.name, e.name, e.code ?? null]; }
};
"""

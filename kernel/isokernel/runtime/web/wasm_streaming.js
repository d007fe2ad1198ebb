"use strict";
// WebAssembly.compileStreaming and instantiateStreaming
// (https://webassembly.github.io/spec/web-api/). They read the whole response before V8 has any
// of it: compiling beside the download would take threads, which V8 has none of here.
const { exec } = require("intrinsics");
const { NOTHING } = require("web/body");
const { contentsOf } = require("web/response");

const { TypeError } = globalThis;
const WASM = /^[\t\n\r ]*application\/wasm[\t\n\r ]*$/i;

/**
 * The bytes of a module, in a box that inherits nothing: a promise asks what it is resolved with
 * for a `then`, which code may have put onto all objects.
 * @param {unknown} source a Response, or a promise of one
 * @param {string} name of the function, for errors
 */
async function readModule(source, name) {
  const given = contentsOf(await source);
  if (given === undefined) {
    throw new TypeError(`WebAssembly.${name}(): the argument must be a Response or a promise of one`);
  }
  const { body, ok, status, type } = given;
  if (exec(WASM, type ?? "") === null) {
    throw new TypeError(`WebAssembly.${name}(): the response has the type ` +
      `${type === null ? "of nothing" : `'${type}'`}, expected 'application/wasm'`);
  }
  if (!ok) throw new TypeError(`WebAssembly.${name}(): the response has the status ${status}`);
  if (body === null) return { __proto__: null, bytes: NOTHING };
  body.requireWhole();
  if (body.unusable) {
    throw new TypeError(`WebAssembly.${name}(): the body was read already, or is being read`);
  }
  return body.readAll();
}

module.exports = { readModule };

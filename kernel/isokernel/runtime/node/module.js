"use strict";
// node:module: `createRequire`, and what the built-in modules are.

const builtins = require("node/index");
const { refusedFunction } = require("node/stubs");

const builtinModules = builtins.names();

/** The URL of what `createRequire` is given: a path, as `__filename` is, or a URL. */
const urlOf = (place) =>
  place.startsWith("/") ? require("node/url").pathToFileURL(place).href : place;

class Module {
  constructor(id = "") {
    this.id = id;
    this.exports = {};
  }

  static builtinModules = builtinModules;
  static createRequire = (place) => require("commonjs").requireOf(urlOf(`${place}`));
  static findSourceMap = () => undefined;
  static isBuiltin = (name) => builtins.nameOf(`${name}`) !== undefined;
  static register = refusedFunction("module", "register");
  static syncBuiltinESMExports = () => {};
  static _cache = {};
  static _extensions = {};
  static _load = (name) => require("commonjs").requireOf("")(name);
  static _resolveFilename = (name) => require("commonjs").requireOf("").resolve(name);
}
Module.Module = Module;

module.exports = Module;

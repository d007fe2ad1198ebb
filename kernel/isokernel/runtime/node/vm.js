"use strict";
// node:vm: code in this context; there are no others.

const { refusedClass, refusedFunction } = require("node/stubs");

const evaluate = (0, eval);

class Script {
  #code;

  constructor(code) {
    this.#code = `${code}`;
    new Function(this.#code); // refuses what can't be parsed
  }

  runInThisContext() {
    return evaluate(this.#code);
  }

  runInContext = refusedFunction("vm", "runInContext");
  runInNewContext = refusedFunction("vm", "runInNewContext");
}

module.exports = {
  Module: refusedClass("vm", "Module"),
  Script,
  SourceTextModule: refusedClass("vm", "SourceTextModule"),
  SyntheticModule: refusedClass("vm", "SyntheticModule"),
  compileFunction: (code, parameters = []) => new Function(...parameters, code),
  createContext: refusedFunction("vm", "createContext"),
  isContext: () => false,
  runInContext: refusedFunction("vm", "runInContext"),
  runInNewContext: refusedFunction("vm", "runInNewContext"),
  runInThisContext: (code) => evaluate(`${code}`),
};

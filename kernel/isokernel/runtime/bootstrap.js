"use strict";
// The first script of a context. Makes the `host` object out of the one native function, and
// the loader that gives every other module of the runtime its `require`, its `exports` and the
// host. Its value is a function that Python calls once.

((call, names, extras) => {
  const { parse } = JSON;
  const { apply } = Reflect;
  const operation = { __proto__: null };
  for (const [index, name] of parse(names).entries()) operation[name] = index;

  // One closure per operation with the arity that it has: no argument lists are copied.
  const one = (name) => ((index) => (value) => call(index, value))(operation[name]);
  const brand = one("brand");
  const load = one("load");

  const host = {
    __proto__: null,
    extras,
    brand,
    random: one("random"),
    clone: one("clone"),
    proxyDetails: one("proxyDetails"),
    promiseDetails: one("promiseDetails"),
    previewEntries: one("previewEntries"),
    constructorName: one("constructorName"),
    lexicalValue: one("lexicalValue"),
    lexicalNames: () => call(operation.lexicalNames),
    now: () => call(operation.now),
    microtasks: () => call(operation.microtasks),
    write: (stream, text, owner) => call(operation.write, stream, text, owner),
    emit: (kind, json, owner, buffers) => {
      const values = [operation.emit, kind, json, owner];
      if (buffers !== undefined) {
        for (let i = 0; i < buffers.length; i++) values[values.length] = buffers[i];
      }
      return apply(call, undefined, values);
    },
    input: (prompt, password) => call(operation.input, prompt, password),
    heap: (action, name) => call(operation.heap, action, name),
    callTool: (id, path, json, owner) => call(operation.callTool, id, path, json, owner),
    outputCut: (owner) => call(operation.outputCut, owner),
    position: (script, line, column) =>
      parse(call(operation.position, script, line, column)),
    // Modules that only have the thrown value leave its description to the errors module.
    reportError: (details, kind, owner, leveled) =>
      kind === undefined
        ? require("errors").report(details, "error")
        : call(operation.reportError, details, kind, owner, leveled),
    typeOf: (value) => {
      const type = typeof value;
      if (type !== "object" && type !== "function") return type;
      return value === null ? "null" : brand(value);
    },
  };

  // Once there may be user code, the module that restores built-ins for what is loaded then.
  let around = (action) => action();
  const modules = { __proto__: null };
  const isLibrary = (name) => (name[0] === "v" || name[0] === "w") && name[1] === "e";
  function require(name) {
    const known = modules[name];
    if (known !== undefined) return known.exports;
    const module = { exports: {} };
    modules[name] = module;
    try {
      const run = () => load(name)(module.exports, require, module, host);
      if (isLibrary(name)) around(run);
      else run();
    } catch (error) {
      delete modules[name];
      throw error;
    }
    return module.exports;
  }
  host.loadWithin = (guard) => {
    around = guard;
  };
  return require;
});

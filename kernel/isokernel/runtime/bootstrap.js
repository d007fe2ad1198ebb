"use strict";
// The first script of a context. Makes the `host` object out of the one native function, and
// the loader that gives every other module of the runtime its `require`, its `exports` and the
// host. Its value is a function that Python calls once.

((call, names, extras) => {
  const { parse } = JSON;
  const { apply } = Reflect;
  const global = globalThis;
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
    namedProperties: (object, filter) => call(operation.namedProperties, object, filter),
    functionPlace: one("functionPlace"),
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
    compress: (data, first, last) => call(operation.compress, data, first, last),
    decompress: (stream, data, fresh) => call(operation.decompress, stream, data, fresh),
    beginCall: (id, name, json, owner, data) =>
      call(operation.beginCall, id, name, json, owner, data),
    callNow: (id, name, json, owner, data) =>
      call(operation.callNow, id, name, json, owner, data),
    outputCut: (owner) => call(operation.outputCut, owner),
    position: (script, line, column) =>
      parse(call(operation.position, script, line, column)),
    written: (script, line, column, text) =>
      call(operation.written, script, line, column, text),
    compileModule: (url, text, targets) => call(operation.compileModule, url, text, targets),
    compileModules: (json, data) => call(operation.compileModules, json, data),
    decodeText: (data, start, size) => call(operation.decodeText, data, start, size),
    makeModule: (url, names) => call(operation.makeModule, url, names),
    setExport: (url, name, value) => call(operation.setExport, url, name, value),
    linkModule: one("linkModule"),
    evaluateModule: one("evaluateModule"),
    namespaceOf: one("namespaceOf"),
    statusOf: one("statusOf"),
    dropModule: one("dropModule"),
    moduleUrls: () => call(operation.moduleUrls),
    withoutTypes: (url, text) => call(operation.withoutTypes, url, text),
    runScript: (name, text, head) => call(operation.runScript, name, text, head),
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
  // Each with its exports; whether code of the user's may have needed it (see `beginBlank`);
  // and a list of the modules that it has asked for while it was loaded, whose exports it holds.
  const modules = { __proto__: null };
  let unfinished = { __proto__: null }; // those that are being loaded
  let loading; // the one that is
  let isInstalled = false;
  const isLibrary = (name) =>
    ((name[0] === "v" || name[0] === "w") && name[1] === "e") || (name[0] === "n" && name[1] === "o");
  function require(name) {
    const known = modules[name];
    if (known !== undefined) {
      note(known);
      return known.exports;
    }
    // What is assigned to our own modules' exports must not meet what user code has put onto all
    // objects; libraries are loaded while there is nothing of the kind.
    const module = { exports: isLibrary(name) ? {} : { __proto__: null }, isWanted: false,
      isEssential: !isInstalled, isKept: false, needs: undefined };
    note(module);
    const outer = loading;
    loading = modules[name] = unfinished[name] = module;
    try {
      const run = () => load(name)(module.exports, require, module, host, global);
      if (isLibrary(name)) around(run);
      else run();
    } catch (error) {
      delete modules[name];
      delete unfinished[name];
      throw error;
    } finally {
      loading = outer;
    }
    delete unfinished[name];
    return module.exports;
  }
  function note(module) {
    if (loading === undefined) module.isWanted = true;
    else if (isInstalled) loading.needs = { module, next: loading.needs };
  }
  /** A module's exports, if it is loaded: for what means nothing before it is. */
  host.loaded = (name) => (name in unfinished ? undefined : modules[name]?.exports);
  // The context is blank, or blank again: what has been loaded since it was first so was loaded
  // ahead, and is held by nothing but `modules`.
  host.beginBlank = () => {
    isInstalled = true;
    for (const name in modules) modules[name].isWanted = false;
  };
  // Forgets what was loaded ahead and wasn't wanted; and those that have no state, wanted or not.
  host.forgetSpare = (stateless) => {
    for (let i = 0; i < stateless.length; i++) {
      const module = modules[stateless[i]];
      if (module !== undefined) module.isWanted = false;
    }
    for (const name in modules) {
      const module = modules[name];
      if (module.isWanted || module.isEssential) keep(module);
    }
    for (const name in modules) {
      if (modules[name].isKept) modules[name].isKept = false;
      else delete modules[name];
    }
  };
  function keep(module) {
    if (module.isKept) return;
    module.isKept = true;
    for (let need = module.needs; need !== undefined; need = need.next) keep(need.module);
  }
  // A termination leaves no other trace in JavaScript.
  host.forgetUnfinished = () => {
    for (const name in unfinished) delete modules[name];
    unfinished = { __proto__: null };
    loading = undefined;
  };
  host.loadWithin = (guard) => {
    around = guard;
  };
  return require;
});

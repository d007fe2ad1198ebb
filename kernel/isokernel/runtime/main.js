"use strict";
// What Python calls. Arguments and results are strings, numbers and booleans; structured data
// goes as JSON text.

const {
  Promise, Set, defineProperty, filter, getNames, hasOwn, keys, parse, setAdd, setHas, toJson,
} = require("intrinsics");
const { setOwner } = require("owner");
const output = require("output");
const timers = require("timers");
const text = require("text");
const results = require("results");
const saved = require("saved");
const { prepareStackTrace } = require("stack");
const { describe, report } = require("errors");

// The web's modules hand over errors as they are; errors.js has taken the host's own function,
// which wants them described.
host.reportError = (error) => report(error, "error");

const RESULT = ".repl_result"; // where V8's REPL puts a cell's value
const ours = new Set(); // names of the globals that are there from the beginning

/** Defines globals the way the language's own are: not enumerable, but changeable. */
function define(globals) {
  const names = keys(globals);
  for (let i = 0; i < names.length; i++) {
    defineProperty(globalThis, names[i], {
      __proto__: null, value: globals[names[i]], writable: true, enumerable: false,
      configurable: true,
    });
  }
}

/**
 * Defines the globals. Called once, before any user code runs.
 * @param {string} optionsJson outputMax, outputSetting, timersMax, resultHistory, callsMax,
 *   callBytesMax, colors, platform, versions; each may be left out
 */
function install(optionsJson) {
  configure(optionsJson);
  results.install();
  require("webassembly").watch();
  define(timers.globals);
  define(require("display").globals);
  define(require("dialogs").globals);
  define({
    console: require("console").console,
    process: require("process").createProcess(parse(optionsJson)),
    Jupyter: require("jupyter").Jupyter,
  });
  const web = require("web/index");
  web.install(globalThis);
  web.installNode(globalThis);
  const names = getNames(globalThis);
  for (let i = 0; i < names.length; i++) setAdd(ours, names[i]);
  const pristine = require("pristine");
  pristine.remember();
  host.loadWithin(pristine.within);
  host.beginBlank();
}

/** Names of globals that were not there at the beginning, as JSON. */
function globalNames() {
  return toJson(filter(getNames(globalThis), (name) => !setHas(ours, name)));
}

/**
 * Defines functions that code of ours calls by name: what lowered decorators are.
 * @param {object} functions by name
 */
function defineHelpers(functions) {
  for (const name in functions) {
    if (hasOwn(globalThis, name)) continue;
    const value = functions[name];
    defineProperty(globalThis, name,
      { __proto__: null, value, writable: true, configurable: true });
    setAdd(ours, name);
  }
}

/**
 * Changes settings: for a context that was installed with others, then saved or forked.
 * @param {string} optionsJson as install's; what is left out stays
 */
function configure(optionsJson) {
  const options = parse(optionsJson);
  output.setLimit(options.outputMax, options.outputSetting);
  timers.setLimit(options.timersMax);
  results.setLimit(options.resultHistory);
  if (options.colors !== undefined) text.setColors(options.colors);
  host.callLimits = { __proto__: null, calls: options.callsMax, bytes: options.callBytesMax };
}

/** The context begins now, though it was made before: in a process forked with a blank one. */
function restartClock() {
  require("web/clock").restart();
}

/** The context is blank again, and has what has been loaded only to have it at hand. */
function forget() {
  setOwner(0);
  host.beginBlank();
}

/** Begins a cell that is kept, in one call: each costs Python microseconds. */
function beginCell(owner, count, code) {
  results.recordInput(count, code);
  setOwner(owner);
}

/** Loads what is otherwise loaded when first needed: for the context that others start from. */
function preload() {
  text.preload();
  beginCell(0, 1, "");
  results.warm();
  require("present");
  require("conclude");
  require("tools");
  require("unsavable");
  require("table");
  require("grid");
  require("completion");
  require("inspection");
}

Object.assign(exports, {
  install,
  configure,
  preload,
  restartClock,
  lendEnvironment: (json) => require("process").lend(parse(json)),
  setOwner,
  forget,
  beginCell,
  // Each call from Python costs microseconds, and these two are wanted together.
  flush: () => {
    output.flush();
    return timers.nextDue();
  },
  endOutput: output.endOutput,
  tick: output.tick,
  runTimers: timers.runTimers,
  nextTimer: timers.nextTimer,
  holds: (owner) =>
    timers.holds(owner) || host.loaded("tools")?.holds(owner) === true ||
    host.loaded("capabilities")?.host.holds(owner) === true,
  cancelOwner: timers.cancelOwner,
  beginSaving: saved.begin,
  usesWebAssembly: () => require("webassembly").isUsed(),
  webAssembly: () => require("webassembly"),
  suspend: saved.suspend,
  resume: saved.resume,
  takeShared: saved.takeShared,
  takeEmptied: saved.takeEmptied,
  heapSettled: (json) => require("heaps").settled(json),
  findUnsavable: (targets, modules) => require("unsavable").find(targets, modules),
  // What V8's REPL gives for a cell, of what has run as a script: its value, or what it threw.
  scriptEnd: (value, failed) =>
    new Promise((fulfil, reject) => {
      if (failed) reject(value);
      else fulfil({ __proto__: null, [RESULT]: value });
    }),
  // Both take what V8's REPL gives as a cell's end, and show its value in the cell's name.
  present: (end, owner, count, storeHistory) => {
    setOwner(owner);
    return require("present").present(end[RESULT], count, storeHistory);
  },
  conclude: (end, owner, count, storeHistory, silent, limit, wholeMax, calls) => {
    setOwner(owner);
    const { conclude } = require("conclude");
    return conclude(end[RESULT], count, storeHistory, silent, limit, wholeMax, calls);
  },
  showLevels: (owner) => require("console").showLevels(owner),
  describe,
  report,
  prepareStackTrace,
  complete: (code, cursor) => require("completion").complete(code, cursor),
  inspect: (code, cursor, detail) => require("inspection").inspect(code, cursor, detail),
  comm: (kind, json, buffers) => require("comms").receive(kind, json, buffers),
  comms: () => require("comms").list(),
  globalNames,
  defineHelpers,
  // Nothing is loaded for contexts that have no tools.
  beginTools: (id, options) => require("tools").begin(id, options),
  endTools: (id) => host.loaded("tools")?.end(id),
  settleTool: (id, kind, json) => host.loaded("tools")?.settle(id, kind, json),
  loseTools: (message) => host.loaded("tools")?.lose(message),
  isDenial: (value, id) => host.loaded("tools")?.isDenial(value, id) === true,
  // V8 asks for the first three; see v8/modules.py.
  importModule: (...asked) => require("modules").importModule(...asked),
  evaluateModule: (url) => require("modules").evaluateModule(url),
  describeModule: (url, meta) => require("modules").describeModule(url, meta),
  forgetModules: () => require("modules").clear(),
  importCell: (json) => require("modules").importCell(json),
  defineImportMeta: () => defineHelpers({ importMeta$: require("modules").meta() }),
  // JavaScript was terminated, amid anything.
  recover: (owner) => {
    host.forgetUnfinished();
    require("pristine").recover();
    host.loaded("modules")?.cancel(owner);
  },
  // Nor for contexts that never call.
  settleCall: (id, kind, json, buffer) =>
    host.loaded("capabilities")?.host.settle(id, kind, json, buffer),
  loseCalls: (message) => host.loaded("capabilities")?.host.lose(message),
  dropCalls: (owner) => host.loaded("capabilities")?.host.drop(owner) ?? "[]",
  capabilities: () => require("capabilities"),
});

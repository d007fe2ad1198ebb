"use strict";
// The console object. Every method prints what Node.js's prints; those that report trouble
// (warn, error, trace, assert) print to stderr, the others to stdout.

const { Map, Set, Symbol, captureStackTrace, create, defineProperty, floor, includes, keys,
  mapDelete, mapGet, mapHas, mapKeys, mapNext, mapSet, mapSize, padStart, replaceAll, setAdd,
  setDelete, setHas, setNext, setSize, setValues, slice, split, toFixed, toText } =
  require("intrinsics");
const { format, hasColors, inspect } = require("text");
const { emit, write } = require("output");
const { owner } = require("owner");
const { now } = require("web/clock");

const INDENT = "  ";
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const GROUPS_KEPT = 100; // executions that may leave a group open

const counts = new Map();
const starts = new Map();
// Executions whose levels are shown.
const leveled = new Set();
const LEVELED_KEPT = 1000;
// Indentation by execution: what a cell left open must not indent the next one's output.
const groups = new Map();

const indentation = () => (mapSize(groups) === 0 ? "" : mapGet(groups, owner()) ?? "");

function print(stream, text) {
  const indent = indentation();
  if (indent !== "") {
    if (includes(text, "\n")) text = replaceAll(text, "\n", `\n${indent}`);
    text = indent + text;
  }
  write(stream, text + "\n");
}

/** Whether an execution's messages have their levels before them. */
const hasLevels = (id) => setSize(leveled) > 0 && setHas(leveled, id);

exports.hasLevels = hasLevels;

/** Prints a message, with its level before it if its execution wants that. */
function say(stream, level, data) {
  const text = format(data);
  print(stream, hasLevels(owner()) ? `[${level}] ${text}` : text);
}

/**
 * Shows levels in all that an execution prints from now on, its timers included.
 * @param {number} id
 */
exports.showLevels = function showLevels(id) {
  setAdd(leveled, id);
  if (setSize(leveled) > LEVELED_KEPT) setDelete(leveled, setNext(setValues(leveled)).value);
};

const warning = (text) => print("stderr", `Warning: ${text}`);

function openGroup(label) {
  if (label.length > 0) print("stdout", format(label));
  mapSet(groups, owner(), indentation() + INDENT);
  if (mapSize(groups) > GROUPS_KEPT) mapDelete(groups, mapNext(mapKeys(groups)).value);
}

/** A duration as console.timeEnd shows it. */
function duration(ms) {
  if (ms < SECOND) return `${+toFixed(ms, 3)}ms`;
  if (ms < MINUTE) return `${toFixed(ms / SECOND, 3)}s`;
  const hours = floor(ms / HOUR);
  const minutes = floor((ms % HOUR) / MINUTE);
  const { 0: seconds, 1: rest } = split(toFixed((ms % MINUTE) / SECOND, 3), ".");
  const clock = hours > 0 ? `${hours}:${padStart(toText(minutes), 2, "0")}` : `${minutes}`;
  return `${clock}:${padStart(seconds, 2, "0")}.${rest} (${hours > 0 ? "h:m" : ""}m:ss.mmm)`;
}

/** The part that timeEnd and timeLog share; tells whether there is such a timer. */
function logTime(method, label, data) {
  const start = mapGet(starts, label);
  if (start === undefined) {
    warning(`No such label '${label}' for console.${method}()`);
    return false;
  }
  const text = `${label}: ${duration(now() - start)}`;
  print("stdout", data.length === 0 ? text : `${text} ${format(data)}`);
  return true;
}

const methods = {
  log(...data) {
    print("stdout", format(data));
  },
  warn(...data) {
    say("stderr", "WARN", data);
  },
  dir(value, options) {
    print("stdout", inspect(value, { customInspect: false, colors: hasColors(), ...options }));
  },
  time(label = "default") {
    label = `${label}`;
    if (mapHas(starts, label)) warning(`Label '${label}' already exists for console.time()`);
    else mapSet(starts, label, now());
  },
  timeEnd(label = "default") {
    label = `${label}`;
    if (logTime("timeEnd", label, [])) mapDelete(starts, label);
  },
  timeLog(label = "default", ...data) {
    logTime("timeLog", `${label}`, data);
  },
  trace: function trace(...data) {
    const error = { name: "Trace", message: format(data) };
    captureStackTrace(error, trace);
    print("stderr", error.stack);
  },
  assert(condition, ...data) {
    if (condition) return;
    if (data.length === 0) print("stderr", "Assertion failed");
    else if (typeof data[0] !== "string") print("stderr", `Assertion failed: ${format(data)}`);
    else {
      data[0] = `Assertion failed: ${data[0]}`;
      print("stderr", format(data));
    }
  },
  clear() {
    emit("clear_output", { wait: false });
  },
  count(label = "default") {
    label = `${label}`;
    const count = (mapGet(counts, label) ?? 0) + 1;
    mapSet(counts, label, count);
    print("stdout", `${label}: ${count}`);
  },
  countReset(label = "default") {
    label = `${label}`;
    if (!mapDelete(counts, label)) warning(`Count for '${label}' does not exist`);
  },
  group(...label) {
    openGroup(label);
  },
  groupEnd() {
    const indent = slice(indentation(), INDENT.length);
    if (indent === "") mapDelete(groups, owner());
    else mapSet(groups, owner(), indent);
  },
  table(value, columns) {
    const text = require("table").table(value, columns);
    print("stdout", text ?? format([value]));
  },
  debug(...data) {
    print("stdout", format(data));
  },
  info(...data) {
    say("stdout", "INFO", data);
  },
  dirxml(...data) {
    print("stdout", format(data));
  },
  error(...data) {
    say("stderr", "ERROR", data);
  },
  groupCollapsed(...label) {
    openGroup(label);
  },
};

// Web IDL's namespace objects have a prototype of their own, which is empty.
const console = create({});
const names = keys(methods);
for (let i = 0; i < names.length; i++) {
  // Web IDL's namespace objects: methods can be taken off them and called alone.
  defineProperty(console, names[i], {
    __proto__: null, value: methods[names[i]], writable: true, enumerable: true,
    configurable: true,
  });
}
defineProperty(console, Symbol.toStringTag,
  { __proto__: null, value: "console", configurable: true });

exports.console = console;

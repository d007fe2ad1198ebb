"use strict";
// Stack traces as the user should see them: frames of cells only, with the lines and columns
// that the user wrote.

const { Error, WeakMap, apply, concat, defineProperty, endsWith, errorToString, getDescriptor,
  getPrototype, indexOf, lastIndexOf, ownValue, push, replace, slice, startsWith, uncurry,
  weakGet, weakSet } = require("intrinsics");

const CELL = /^(cell|query)-(\d+)$/;
const EVAL_PLACE = / \((?:\w+-\d+)?:\d+:\d+\)/;
const INTERNAL = "isokernel:";

// The frames of each error whose stack has been made, for the traceback that Python draws.
const framesOf = new WeakMap();
let site; // CallSite's methods, uncurried; taken from the first call site that is seen

function learnSite(callSite) {
  const prototype = getPrototype(callSite);
  const method = (name) => uncurry(prototype[name]);
  site = {
    __proto__: null,
    script: method("getScriptNameOrSourceURL"),
    line: method("getLineNumber"),
    column: method("getColumnNumber"),
    text: method("toString"),
  };
}

/** A script's name as it is shown: `cell 3` for the script `cell-3`. */
const shownName = (script) => replace(script, CELL, (_, kind, number) => `${kind} ${number}`);

/** The frame's position in what the user wrote: [line, column], from 1. */
function positionOf(script, callSite) {
  return host.position(script, site.line(callSite), site.column(callSite));
}

/** Whether a frame belongs to the user, to a built-in function, or to isokernel. */
function kindOf(script) {
  if (typeof script !== "string" || script === "") return "builtin";
  return startsWith(script, INTERNAL) ? "internal" : "user";
}

/** What V8's text for a frame calls its function: `Box.get`, `new Box`, `async f`. */
function calledFunction(text) {
  const end = indexOf(text, " (");
  return end > 0 && endsWith(text, ")") ? slice(text, 0, end) : "";
}

/** V8's own text for a frame, with the user's position and script name put in. */
function lineFor(callSite, script, position) {
  const text = site.text(callSite);
  // V8 knows a cell that called eval by its place only, and that place may be mapped.
  if (position === undefined) return replace(text, EVAL_PLACE, "");
  const start = lastIndexOf(text, `${script}:`);
  if (start < 0) return text;
  const close = endsWith(text, ")") ? ")" : "";
  return `${slice(text, 0, start)}${shownName(script)}:${position[0]}:${position[1]}${close}`;
}

/**
 * Sorts call sites out. Built-in functions (Array.map, JSON.parse) stay only where the user's
 * own code called them.
 */
function userFrames(sites) {
  const frames = [];
  let callerIsUser = false;
  for (let i = sites.length - 1; i >= 0; i--) {
    const callSite = sites[i];
    if (site === undefined) learnSite(callSite);
    const script = site.script(callSite);
    const kind = kindOf(script);
    if (kind === "user" || (kind === "builtin" && callerIsUser)) {
      const position = kind === "user" ? positionOf(script, callSite) : undefined;
      push(frames, { callSite, script, position });
    }
    callerIsUser = kind !== "internal" && (kind === "user" || callerIsUser);
  }
  return frames;
}

function headerOf(error) {
  try {
    return errorToString(error);
  } catch {
    return "<error>";
  }
}

let onlyTexts = false;

/** @param {boolean} on whether a stack is a text even if the user's own function gives call sites */
exports.keepTexts = (on) => {
  onlyTexts = on;
};

const isObject = (value) =>
  (typeof value === "object" && value !== null) || typeof value === "function";

/** A user's own Error.prepareStackTrace, if there is one. */
function userPreparer() {
  const descriptor = getDescriptor(Error, "prepareStackTrace");
  return typeof descriptor?.value === "function" ? descriptor.value : undefined;
}

/**
 * What V8 asks for when an error's stack is read for the first time.
 * @param {object} error
 * @param {object[]} sites V8's call sites, innermost first
 * @returns {unknown} the stack
 */
exports.prepareStackTrace = function prepareStackTrace(error, sites) {
  const frames = userFrames(sites);
  const kept = [];
  const userSites = [];
  let text = headerOf(error);
  for (let i = frames.length - 1; i >= 0; i--) {
    const { callSite, script, position } = frames[i];
    push(userSites, callSite);
    text += `\n    at ${lineFor(callSite, script, position)}`;
    if (position === undefined) continue;
    push(kept, {
      function: calledFunction(site.text(callSite)),
      script,
      line: position[0],
      column: position[1],
    });
  }
  weakSet(framesOf, error, kept);
  const prepare = userPreparer();
  if (prepare === undefined) return text;
  const prepared = apply(prepare, Error, [error, userSites]);
  return onlyTexts && isObject(prepared) ? text : prepared;
};

/**
 * Gives an error the place that it is about: V8 tells that of a syntax error to nobody else.
 * @param {object} error
 * @param {string} script
 * @param {number} line of what V8 ran, from 1; and so the column
 * @param {number} column
 */
exports.place = function place(error, script, line, column) {
  const frames = exports.framesOf(error);
  const at = host.position(script, line, column);
  const frame = { function: "", script, line: at[0], column: at[1] };
  weakSet(framesOf, error, concat([frame], frames));
  const text = ownValue(error, "stack");
  const head = headerOf(error);
  if (typeof text !== "string" || !startsWith(text, head)) return;
  const stack = `${head}\n    at ${shownName(script)}:${at[0]}:${at[1]}${slice(text, head.length)}`;
  try {
    defineProperty(error, "stack", { __proto__: null, value: stack });
  } catch {
    // It can't be changed: what is shown has the place all the same.
  }
};

/**
 * The user's frames of an error, innermost first.
 * @param {object} error
 * @returns {{function: string, script: string, line: number, column: number}[]}
 */
exports.framesOf = function (error) {
  if (weakGet(framesOf, error) === undefined) {
    try {
      void error.stack; // makes V8 ask prepareStackTrace, unless the user replaced the stack
    } catch {
      // A getter of the user's: there is nothing to show then.
    }
  }
  return weakGet(framesOf, error) ?? [];
};

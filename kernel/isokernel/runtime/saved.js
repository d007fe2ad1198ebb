"use strict";
// A context that is about to be saved, and one that goes on from what was saved: what Python
// knows of it lies in the heap meanwhile, and its clocks stand still.

const clock = require("web/clock");
const stack = require("stack");
const timers = require("timers");

// Modules that are the same whoever has used them: they are loaded anew when they are wanted.
const STATELESS = ["completion", "grid", "inspection", "jsdoc", "natives", "table", "tokens",
  "unsavable", "values", "vendor/inspect"];

let suspended = false;
let state = "";
let shared = [];
let emptied = [];

/** Begins, in a copy of the context: stacks of errors that are made from now on are texts. */
exports.begin = () => stack.keepTexts(true);

/**
 * Makes the heap ready to be written.
 * @param {string} text what Python wants to know again
 * @param {SharedArrayBuffer[]} buffers those that have to be shared again
 * @param {object[]} objects those that have to be made again
 */
exports.suspend = function suspend(text, buffers, objects) {
  suspended = true;
  state = text;
  shared = buffers;
  emptied = objects;
  timers.suspend();
  clock.suspend();
  host.forgetSpare(STATELESS);
};

/**
 * Goes on where the heap was written.
 * @returns {string} what Python wanted to know again; "" for a heap that was not made ready
 */
exports.resume = function resume() {
  if (!suspended) return "";
  const text = state;
  suspended = false;
  state = "";
  stack.keepTexts(false);
  host.loaded("heaps")?.forget();
  timers.resume();
  clock.resume();
  return text;
};

function takeLast(list) {
  const last = list[list.length - 1];
  if (list.length > 0) list.length -= 1;
  return last;
}

/** Gives one of the buffers that have to be shared again; undefined when there is none left. */
exports.takeShared = () => takeLast(shared);

/** Gives one of the objects that have to be made again, as above. */
exports.takeEmptied = () => takeLast(emptied);

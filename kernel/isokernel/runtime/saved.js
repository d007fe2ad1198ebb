"use strict";
// A context that is about to be saved, and one that goes on from what was saved: what Python
// knows of it lies in the heap meanwhile, and its clocks stand still.

const clock = require("web/clock");
const timers = require("timers");

let suspended = false;
let state = "";

/**
 * Makes the heap ready to be written.
 * @param {string} text what Python wants to know again
 */
exports.suspend = function suspend(text) {
  suspended = true;
  state = text;
  timers.suspend();
  clock.suspend();
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
  timers.resume();
  clock.resume();
  return text;
};

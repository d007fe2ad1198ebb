"use strict";
// A context that is about to be saved, and one that goes on from what was saved: what Python
// knows of it lies in the heap meanwhile, and its clocks stand still.

const { defineProperty, getDescriptor } = require("intrinsics");
const clock = require("web/clock");
const stack = require("stack");
const timers = require("timers");

let suspended = false;
let state = "";
let shared = [];
let hasMemory = false;

/**
 * Takes note of WebAssembly.Memory being used: V8 writes one as it writes anything, but what it
 * reads back can't grow, and trying to ends the process.
 */
exports.watch = function watch() {
  const { value } = getDescriptor(WebAssembly, "Memory");
  const define = (memory) => {
    defineProperty(WebAssembly, "Memory", {
      value: memory, writable: true, enumerable: false, configurable: true,
    });
  };
  defineProperty(WebAssembly, "Memory", {
    get() {
      hasMemory = true;
      define(value);
      return value;
    },
    set: define,
    enumerable: false,
    configurable: true,
  });
};

/** @returns {boolean} whether there may be any WebAssembly.Memory */
exports.hasMemory = () => hasMemory;

/** Begins, in a copy of the context: stacks of errors that are made from now on are texts. */
exports.begin = () => stack.keepTexts(true);

/**
 * Makes the heap ready to be written.
 * @param {string} text what Python wants to know again
 * @param {SharedArrayBuffer[]} buffers those that have to be shared again
 */
exports.suspend = function suspend(text, buffers) {
  suspended = true;
  state = text;
  shared = buffers;
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
  stack.keepTexts(false);
  require("heaps").forget();
  timers.resume();
  clock.resume();
  return text;
};

/** Gives one of the buffers that have to be shared again; undefined when there is none left. */
exports.takeShared = function takeShared() {
  const buffer = shared[shared.length - 1];
  if (shared.length > 0) shared.length -= 1;
  return buffer;
};

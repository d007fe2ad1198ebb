"use strict";
// Earlier cells by number, as in IPython: _, __, ___ and _N, Out[N] for results, In[N] for
// source text. All are plain data properties that the user may overwrite.

const { defineProperty, getDescriptor, hasOwn, is } = require("intrinsics");

let kept = 1000;
const Out = {};
const In = {};
// Numbers of the cells that are kept, oldest first; `start` says where the list begins.
const numbers = { __proto__: null, results: [], inputs: [] };
// What was put into _, __ and ___ by us: a name that holds anything else is the user's.
const recent = [undefined, undefined, undefined];
const NAMES = ["_", "__", "___"];

const hidden = (value) => ({
  __proto__: null, value, writable: true, enumerable: false, configurable: true,
});
const shown = (value) => ({
  __proto__: null, value, writable: true, enumerable: true, configurable: true,
});

function define(name, value) {
  try {
    defineProperty(globalThis, name, hidden(value));
  } catch {
    // The user has made it unchangeable: then it is theirs.
  }
}

const isOurs = (name, value) => {
  const descriptor = getDescriptor(globalThis, name);
  return descriptor !== undefined && hasOwn(descriptor, "value") && is(descriptor.value, value);
};

/** @param {number | undefined} max cells whose result and source text are kept */
exports.setLimit = (max) => {
  if (max > 0) kept = max;
};

/** Defines In, Out and the empty shortcuts. */
exports.install = function install() {
  define("In", In);
  define("Out", Out);
  for (let i = 0; i < NAMES.length; i++) define(NAMES[i], undefined);
};

/** Adds to a list; gives the number that is too old to be kept, if there is one. */
function remember(list, number) {
  list[list.length] = number;
  if (list.length - (list.start ?? 0) <= kept) return undefined;
  const oldest = list[list.start ?? 0];
  list.start = (list.start ?? 0) + 1;
  if (list.start > kept) {
    for (let i = list.start; i < list.length; i++) list[i - list.start] = list[i];
    list.length -= list.start;
    list.start = 0;
  }
  return oldest;
}

function forget(number) {
  if (isOurs(`_${number}`, Out[number])) delete globalThis[`_${number}`];
  delete Out[number];
}

/**
 * Keeps a cell's result.
 * @param {unknown} value
 * @param {number} count the cell's number
 */
exports.recordResult = function recordResult(value, count) {
  if (isOurs("_", recent[0])) {
    for (let i = NAMES.length - 1; i >= 0; i--) {
      const fresh = i === 0 ? value : recent[i - 1];
      if (i === 0 || isOurs(NAMES[i], recent[i])) define(NAMES[i], fresh);
      recent[i] = fresh;
    }
  }
  define(`_${count}`, value);
  defineProperty(Out, count, shown(value));
  const oldest = remember(numbers.results, count);
  if (oldest !== undefined) forget(oldest);
};

/**
 * Keeps a cell's source text.
 * @param {number} count the cell's number
 * @param {string} code
 */
exports.recordInput = function recordInput(count, code) {
  defineProperty(In, count, shown(code));
  const oldest = remember(numbers.inputs, count);
  if (oldest !== undefined) delete In[oldest];
};

/**
 * Does once what each cell that is kept does, and undoes it: what has run is compiled. Called
 * before there is any cell.
 */
exports.warm = function warm() {
  exports.recordInput(1, "");
  exports.recordResult(undefined, 1);
  forget(1);
  delete In[1];
  numbers.inputs.length = numbers.results.length = 0;
};

/** @returns {string[]} the source texts of the kept cells, oldest first */
exports.inputs = function inputs() {
  const list = numbers.inputs;
  const texts = [];
  for (let i = list.start ?? 0; i < list.length; i++) {
    const code = getDescriptor(In, list[i])?.value;
    if (typeof code === "string") texts[texts.length] = code;
  }
  return texts;
};

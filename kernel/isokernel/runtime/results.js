"use strict";
// Earlier cells by number, as in IPython: _, __, ___ and _N, Out[N] for results, In[N] for
// source text. All are plain data properties that the user may overwrite.

const { defineProperty, hasOwn, is, ownValue, push } = require("intrinsics");

let kept = 1000;
const Out = {};
const In = {};
// Numbers of the cells that are kept, oldest first; `start` says where the list begins.
const startList = () => {
  const list = [];
  list.start = 0;
  return list;
};
const numbers = { __proto__: null, results: startList(), inputs: startList() };
// What was put into _, __ and ___ by us: a name that holds anything else is the user's.
const recent = [undefined, undefined, undefined];
const NAMES = ["_", "__", "___"];

// Made once: an object that inherits nothing takes V8 longer than what it is for.
const hidden = {
  __proto__: null, value: undefined, writable: true, enumerable: false, configurable: true,
};
const shown = {
  __proto__: null, value: undefined, writable: true, enumerable: true, configurable: true,
};

function put(object, name, descriptor, value) {
  descriptor.value = value;
  try {
    defineProperty(object, name, descriptor);
  } catch {
    // The user has made it unchangeable: then it is theirs.
  }
  descriptor.value = undefined;
}

const define = (name, value) => put(globalThis, name, hidden, value);

const isOurs = (name, value) =>
  hasOwn(globalThis, name) && is(ownValue(globalThis, name), value);

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
  push(list, number);
  if (list.length - list.start <= kept) return undefined;
  const oldest = list[list.start];
  list.start += 1;
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
  put(Out, count, shown, value);
  const oldest = remember(numbers.results, count);
  if (oldest !== undefined) forget(oldest);
};

/**
 * Keeps a cell's source text.
 * @param {number} count the cell's number
 * @param {string} code
 */
exports.recordInput = function recordInput(count, code) {
  put(In, count, shown, code);
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
  for (let i = list.start; i < list.length; i++) {
    const code = ownValue(In, list[i]);
    if (typeof code === "string") push(texts, code);
  }
  return texts;
};

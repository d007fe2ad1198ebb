"use strict";
// Saved heaps, for fronts that have a place for them. A heap can't be written while JavaScript
// runs, so it is the front that does it, as soon as the cell awaits or has ended.

const { Error, parse, push, resolve, toText } = require("intrinsics");

const NativePromise = Promise;
let waiting = []; // for what was asked to be saved, in order

/**
 * Saves the context as it is when nothing runs: at the await, or when the cell has ended.
 * @param {string} name
 * @returns {Promise<{name: string, key: string, size: number}>}
 */
function checkpoint(name) {
  name = toText(name);
  host.heap("checkpoint", name);
  return new NativePromise((fulfil, reject) => {
    push(waiting, { fulfil, reject });
  });
}

/**
 * Puts a saved context in the place of this one, when the cell has ended.
 * @param {string} name
 * @returns {Promise<void>}
 */
function restore(name) {
  host.heap("restore", toText(name));
  return resolve();
}

/** @returns {{name: string, size: number, saved: string}[]} newest first */
function checkpoints() {
  return parse(host.heap("list", ""));
}

/** What was asked for first is saved, or can't be. */
exports.settled = function settled(json) {
  const { 0: first } = waiting;
  for (let i = 1; i < waiting.length; i++) waiting[i - 1] = waiting[i];
  if (first === undefined) return;
  waiting.length -= 1;
  const { error, ...saved } = parse(json);
  if (error === undefined) first.fulfil(saved);
  else first.reject(new Error(error));
};

/** Goes on in another process, where nobody will say how the saving went. */
exports.forget = function forget() {
  waiting = [];
};

exports.methods = { checkpoint, restore, checkpoints };

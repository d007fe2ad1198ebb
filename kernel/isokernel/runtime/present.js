"use strict";
// A cell's result: kept for later cells, and shown.

const { hasOwn, toJson, then } = require("intrinsics");
const { represent } = require("mime");
const { isHandle, takeWaiting } = require("handles");
const { recordResult } = require("results");

const show = (value) => {
  const shown = represent(value);
  // Asking for V8's own brand costs more than all the rest: it is either a bundle or a promise.
  return hasOwn(shown, "data") ? toJson(shown) : then(shown, toJson);
};

/**
 * Gives a cell's result the form in which it is shown.
 * @param {unknown} value
 * @param {number} count the cell's number
 * @param {boolean} storeHistory whether later cells can ask for it
 * @returns {string | Promise<string>} JSON {data, metadata}, "" when there is nothing to show
 */
exports.present = function present(value, count, storeHistory) {
  const waiting = takeWaiting();
  // What display() returns is a means, not a result.
  const isResult = value !== undefined && !isHandle(value);
  if (isResult && storeHistory) recordResult(value, count);
  if (waiting.length === 0) return isResult ? show(value) : "";
  let shown = waiting[0];
  for (let i = 1; i < waiting.length; i++) {
    then(waiting[i], undefined, () => {}); // its failure is told below, not as unhandled
    shown = then(shown, () => waiting[i]);
  }
  return then(shown, () => (isResult ? show(value) : ""));
};

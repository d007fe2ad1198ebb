"use strict";
// A cell's result as data, for executions that ask for it beside what is shown.

const { apply, functionToString, getDescriptor, min, startsWith, then, toJson } =
  require("intrinsics");
const { isPromise } = require("mime");
const { isHandle } = require("handles");
const { encode } = require("json");
const output = require("output");
const { present } = require("present");
const { proxyDetails } = host;

const pack = (shown, value, limit) => {
  const { json, cut, text, note } = encode(isHandle(value) ? undefined : value, limit);
  return toJson([shown, json, cut, text, note]);
};

/** Whether a value is a function that does with no argument, as code that was meant to run. */
function isCallable(value) {
  if (typeof value !== "function" || proxyDetails(value) !== undefined) return false;
  return getDescriptor(value, "length")?.value === 0 &&
    !startsWith(functionToString(value), "class");
}

/**
 * Shows a cell's result as `present` does, and gives it as JSON. A promise is awaited.
 * @param {unknown} value
 * @param {number} count the cell's number
 * @param {boolean} storeHistory whether later cells can ask for it
 * @param {boolean} silent give it as JSON only
 * @param {number} limit characters of the JSON text; 0 for those that a cell may print
 * @param {boolean} calls whether a function of no argument is called, and its value is meant
 * @returns {string | Promise<string>} JSON [what `present` gives, and what `encode` gives: json,
 *   cut, text, note]
 */
exports.conclude = function conclude(value, count, storeHistory, silent, limit, calls) {
  if (calls && isCallable(value)) value = apply(value, undefined, []);
  if (isPromise(value)) {
    return then(value, (end) => conclude(end, count, storeHistory, silent, limit, calls));
  }
  const room = limit > 0 ? min(limit, output.limit()) : output.limit();
  const shown = silent ? "" : present(value, count, storeHistory);
  if (typeof shown === "string") return pack(shown, value, room);
  return then(shown, (text) => pack(text, value, room));
};

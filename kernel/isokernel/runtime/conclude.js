"use strict";
// A cell's result as data, for executions that ask for it beside what is shown.

const { apply, functionToString, min, ownValue, startsWith, then, toJson } = require("intrinsics");
const { isPromise } = require("mime");
const { isHandle } = require("handles");
const { encode } = require("json");
const output = require("output");
const { present } = require("present");
const { proxyDetails } = host;

const pack = (shown, value, limit, wholeMax) => {
  const { json, cut, text, note, whole } =
    encode(isHandle(value) ? undefined : value, limit, wholeMax);
  return `[${shown === "" ? "null" : shown},${toJson([json, cut, text, note, whole])}]`;
};

/** Whether a value is a function that does with no argument, as code that was meant to run. */
function isCallable(value) {
  if (typeof value !== "function" || proxyDetails(value) !== undefined) return false;
  return ownValue(value, "length") === 0 &&
    !startsWith(functionToString(value), "class");
}

/**
 * Shows a cell's result as `present` does, and gives it as JSON. A promise is awaited.
 * @param {unknown} value
 * @param {number} count the cell's number
 * @param {boolean} storeHistory whether later cells can ask for it
 * @param {boolean} silent give it as JSON only
 * @param {number} limit characters of the JSON text; 0 for those that a cell may print
 * @param {number} wholeMax characters of all of the JSON text, if it is cut; 0 for none
 * @param {boolean} calls whether a function of no argument is called, and its value is meant
 * @returns {string | Promise<string>} JSON [what `present` gives, null for nothing; what `encode`
 *   gives: [json, cut, text, note, whole]]
 */
exports.conclude = function conclude(
  value, count, storeHistory, silent, limit, wholeMax, calls,
) {
  if (calls && isCallable(value)) value = apply(value, undefined, []);
  if (isPromise(value)) {
    return then(value, (end) =>
      conclude(end, count, storeHistory, silent, limit, wholeMax, calls));
  }
  const room = limit > 0 ? min(limit, output.limit()) : output.limit();
  const shown = silent ? "" : present(value, count, storeHistory);
  if (typeof shown === "string") return pack(shown, value, room, wholeMax);
  return then(shown, (text) => pack(text, value, room, wholeMax));
};

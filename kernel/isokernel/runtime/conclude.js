"use strict";
// A cell's result as data, for executions that ask for it beside what is shown.

const { resolve, stringify, then, toJson: encode } = require("intrinsics");
const { isPromise } = require("mime");
const { isHandle } = require("handles");
const output = require("output");
const { present } = require("present");
const { inspect } = require("text");

const NOTHING = [null, false]; // JSON has no word for it

function refused(value) {
  try {
    return inspect(value);
  } catch {
    return `[${typeof value}]`; // showing it runs code of the user's that throws
  }
}

/** [JSON text or null, whether it is told only that it would be too long]. */
function toJson(value) {
  if (isHandle(value)) return NOTHING;
  let text;
  try {
    text = stringify(value);
  } catch {
    text = stringify(refused(value)); // a cycle, a bigint, a toJSON that throws
  }
  if (typeof text !== "string") return NOTHING;
  if (text.length <= output.limit()) return [text, false];
  const notice = `[result of ${text.length} characters cut; ` +
    `raise the setting cell_output_characters_max (${output.limit()}) to get it]`;
  return [stringify(notice), true];
}

const pack = (shown, json) => encode([shown, json[0], json[1]]);

/**
 * Shows a cell's result as `present` does, and gives it as JSON.
 * @param {unknown} value
 * @param {number} count the cell's number
 * @param {boolean} storeHistory whether later cells can ask for it
 * @param {boolean} silent give it as JSON only
 * @returns {string | Promise<string>} JSON [what `present` gives, JSON text or null, whether
 *   it was cut]
 */
exports.conclude = function conclude(value, count, storeHistory, silent) {
  const shown = silent ? "" : present(value, count, storeHistory);
  if (typeof shown === "string" && !isPromise(value)) return pack(shown, toJson(value));
  if (!isPromise(value)) return then(shown, (text) => pack(text, toJson(value)));
  const json = then(value, toJson);
  then(json, undefined, () => {}); // its failure is told below, not as unhandled
  return then(resolve(shown), (text) => then(json, (ready) => pack(text, ready)));
};

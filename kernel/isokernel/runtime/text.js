"use strict";
// Values as text, as Node.js shows them. The inspection library is loaded when the first value
// comes that needs it; strings, numbers and the like never do.

const { Symbol, apply, concat, exec, includes, is, slice, symbolToString } = require("intrinsics");
const { showing } = require("pristine");

// Characters of a value's text; of objects about half of it, as the library then goes on with
// what closes them only.
const TEXT_MAX = 1 << 21;
const SHORT = 200; // characters up to which a string is quoted here; the library does the rest
// What can stand between single quotes as it is. Anything else takes the library's rules.
const PLAIN = /^[\x20-\x26\x28-\x5b\x5d-\x7e]*$/;

exports.INSPECT = Symbol.for("nodejs.util.inspect.custom");

let colors = false;

/** @param {boolean} on whether inspected values carry ANSI colours */
exports.setColors = (on) => {
  colors = on === true;
};

const load = () => require("vendor/inspect");

/** How many columns a text takes on a screen. */
exports.width = (text) => load().getStringWidth(text);

/** Whether colours are on, for those who call the library with options of their own. */
exports.hasColors = () => colors;

/** Loads the library now: for an engine that is to be saved or forked with it. */
exports.preload = load;

/** A primitive's text, or undefined when it takes the library. */
function primitive(value) {
  switch (typeof value) {
    case "number":
      return is(value, -0) ? "-0" : `${value}`;
    case "boolean":
    case "undefined":
      return `${value}`;
    case "bigint":
      return `${value}n`;
    case "symbol":
      return symbolToString(value);
    default:
      return value === null ? "null" : undefined;
  }
}

function shown(action) {
  try {
    return showing(action);
  } finally {
    host.loaded("natives")?.forget();
  }
}

/**
 * Shows one value, as util.inspect does.
 * @param {unknown} value
 * @param {object} [options] those of util.inspect
 * @returns {string}
 */
exports.inspect = function inspect(value, options) {
  if (options === undefined) {
    const text = primitive(value);
    if (text !== undefined && text.length <= TEXT_MAX) return text;
    if (typeof value === "string" && value.length <= SHORT && exec(PLAIN, value) !== null) {
      return `'${value}'`;
    }
  }
  const text = shown(() => load().inspect(value, options));
  const gone = text.length - TEXT_MAX;
  return gone > 0 ? `${slice(text, 0, TEXT_MAX)}... ${gone} more characters` : text;
};

/**
 * Shows the arguments of a console method, as util.formatWithOptions does.
 * @param {unknown[]} values
 * @returns {string}
 */
exports.format = function format(values) {
  const count = values.length;
  const first = values[0];
  if (count === 1 && typeof first === "string") return first;
  if (colors) return formatFully(values);
  if (typeof first === "string" && includes(first, "%")) return formatFully(values);
  let text = "";
  for (let i = 0; i < count; i++) {
    const value = values[i];
    const shown = typeof value === "string" ? value : primitive(value);
    if (shown === undefined) return formatFully(values);
    text = i === 0 ? shown : `${text} ${shown}`;
  }
  return text;
};

function formatFully(values) {
  return shown(() =>
    apply(load().formatWithOptions, undefined, concat([{ colors }], values)));
}

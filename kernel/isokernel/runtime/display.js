"use strict";
// display() and its shorthands: values of a kind that the user names.

const { ObjectPrototype, TypeError, defineProperty, getPrototype, keys } = require("intrinsics");
const { emit } = require("output");
const { showBundle, showValue } = require("handles");
const { bundle, sizeOf, under } = require("mime");
const { bytesOf, sniff } = require("pictures");
const { chartTypes, geoBundle } = require("specs");
const { markupBundle, tags } = require("markup");

const OPTIONS = { __proto__: null, raw: 1, update: 1, id: 1, metadata: 1 };

/** Whether a last argument says how to show the others, and is not to be shown itself. */
function isOptions(value) {
  if (typeof value !== "object" || value === null || host.typeOf(value) !== "Object") return false;
  const prototype = getPrototype(value);
  if (prototype !== ObjectPrototype && prototype !== null) return false; // markup, or a class's
  const names = keys(value);
  for (let i = 0; i < names.length; i++) if (!(names[i] in OPTIONS)) return false;
  return true;
}

/**
 * Shows values as richly as the front end can, each by itself.
 * @param {...unknown} values the last may be options: {raw?: boolean, update?: string,
 *   id?: string, metadata?: object}
 * @returns a handle of the last one: `id`, and `update(value)` to show another in its place
 */
function display(...values) {
  let count = values.length;
  let options;
  if (count > 1 && (values[count - 1] === undefined || isOptions(values[count - 1]))) {
    count -= 1;
    options = values[count];
  }
  for (let i = 0; i < count - 1; i++) showValue(values[i], options);
  return showValue(values[count === 0 ? 0 : count - 1], options);
}

const show = (given, options, value) => showBundle(bundle(given, value), options);
const text = (value) => (typeof value === "string" ? value : `${value}`);

function showText(type) {
  return (value, options) => show({ [type]: text(value), "text/plain": text(value) }, options);
}

function showMarkup(kind) {
  return (value, options) => show(markupBundle(kind, text(value)), options);
}

/** Binary pictures may come as bytes or as base64 text. */
function showPicture(type) {
  return (value, options) => {
    const bytes = bytesOf(value);
    const kind = type ?? (bytes && sniff(bytes));
    if (kind === undefined) throw new TypeError("display.image: no PNG, JPEG, GIF or PDF data");
    const plain = bytes === undefined ? `[${kind}]` : sizeOf(kind, bytes);
    return show({ [kind]: bytes ?? text(value), "text/plain": plain }, options);
  };
}

/** Charts: the specification's $schema says which version draws it. */
function showChart(fallback) {
  return (spec, options) => {
    const types = chartTypes(spec?.$schema);
    return show(under(types.length === 0 ? [fallback] : types, spec), options, spec);
  };
}

const shorthands = {
  text: showText("text/plain"),
  html: showMarkup("html"),
  md: showMarkup("md"),
  svg: showMarkup("svg"),
  latex: showText("text/latex"),
  javascript: showText("application/javascript"),
  png: showPicture("image/png"),
  jpeg: showPicture("image/jpeg"),
  gif: showPicture("image/gif"),
  pdf: showPicture("application/pdf"),
  image: showPicture(undefined),
  json(value, options) {
    return show({ "application/json": value }, options, value);
  },
  table(rows, options) {
    return show(require("grid").grid(rows, options?.columns), options);
  },
  vega: showChart("application/vnd.vega.v5+json"),
  vegalite: showChart("application/vnd.vegalite.v5+json"),
  plotly(figure, options) {
    return show(require("plotly").figureBundle(figure), options, figure);
  },
  geojson(value, options) {
    return show(geoBundle(value), options, value);
  },
};

const names = keys(shorthands);
for (let i = 0; i < names.length; i++) {
  const method = shorthands[names[i]];
  defineProperty(method, "name", { __proto__: null, value: names[i] });
  defineProperty(display, names[i], {
    __proto__: null, value: method, writable: true, enumerable: true, configurable: true,
  });
}

/**
 * Shows another value where the one with this id stands.
 * @param {string} id
 * @param {unknown} value
 * @param {object} [options] as display()'s
 */
function updateDisplay(id, value, options) {
  return showValue(value, { ...options, update: id });
}

/**
 * Removes the output of the cell so far.
 * @param {boolean} [wait] only when the next output comes
 */
function clearOutput(wait = false) {
  emit("clear_output", { wait: wait === true });
}

exports.globals = { display, updateDisplay, clearOutput, ...tags };
exports.shorthands = names;

"use strict";
// display() and its shorthands: values of a kind that the user names.

const { defineProperty, keys } = require("intrinsics");
const { emit } = require("output");
const { showBundle, showValue } = require("handles");
const { bundle, sizeOf, under } = require("mime");
const { bytesOf, sniff } = require("pictures");
const { chartTypes, GEOJSON } = require("specs");
const { markupBundle, tags } = require("markup");

/**
 * Shows a value as richly as the front end can.
 * @param {unknown} value
 * @param {{raw?: boolean, update?: string, id?: string, metadata?: object}} [options]
 * @returns a handle: `id`, and `update(value)` to show another value in the same place
 */
function display(value, options) {
  return showValue(value, options);
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
  geojson(value, options) {
    return show({ [GEOJSON]: value }, options, value);
  },
};

const names = keys(shorthands);
for (let i = 0; i < names.length; i++) {
  const method = shorthands[names[i]];
  defineProperty(method, "name", { value: names[i] });
  defineProperty(display, names[i], {
    value: method, writable: true, enumerable: true, configurable: true,
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

"use strict";
// What a value looks like: its MIME bundle. A value may say so itself, by the convention of
// Deno's kernel, `[Symbol.for("Jupyter.display")]()`, or by IPython's `_repr_html_` and the
// like; elements of a document, charts, maps and pictures are recognised.

const { RangeError, Symbol, TypeError, apply, bytesUnder, endsWith, exec, includes, isArray, join,
  keys, startsWith, then, toBase64, toJson, trimEnd, typedLength } = require("intrinsics");
const output = require("output");
const { inspect } = require("text");
const { sniff, bytesOf } = require("pictures");
const { GEOJSON, geoBundle, specTypes } = require("specs");
const { constructorName, typeOf } = host;

const DISPLAY = Symbol.for("Jupyter.display");
const PLAIN = "text/plain";
const REPRESENTATIONS = [
  ["_repr_html_", "text/html"],
  ["_repr_markdown_", "text/markdown"],
  ["_repr_svg_", "image/svg+xml"],
  ["_repr_png_", "image/png"],
  ["_repr_jpeg_", "image/jpeg"],
  ["_repr_json_", "application/json"],
  ["_repr_latex_", "text/latex"],
];

const TYPE = /^[\w.+-]+\/[\w.+-]+(?:;.*)?$/;

const MARKUP = /^\s*<[a-z!]/i;
const PLOTLY_CLASS = "js-plotly-plot"; // of the elements into which Plotly draws
const PICTURE = /^\s*<svg\s[^>]*\bxmlns=["']http:\/\/www\.w3\.org\/2000\/svg["']/;

const isObject = (value) =>
  (typeof value === "object" && value !== null) || typeof value === "function";
const isPromise = (value) => isObject(value) && typeOf(value) === "Promise";
const isJson = (type) => type === "application/json" || endsWith(type, "+json");

/** A method of the value's, its class's included. Proxies are never asked. */
function methodOf(value, name) {
  const method = value[name];
  return typeof method === "function" ? method : undefined;
}

/** One entry of a bundle as Jupyter wants it: text, base64 for bytes, or JSON. */
function entry(type, value) {
  if (exec(TYPE, type) === null) throw new TypeError(`display: ${inspect(type)} is no MIME type`);
  if (typeof value === "string") return value;
  const bytes = bytesOf(value);
  if (bytes !== undefined) return toBase64(bytes);
  if (isJson(type)) {
    const copy = require("json").copyWithin(value, output.limit());
    if (typeof copy === "object") return copy.data;
    throw new RangeError(`display: ${type} ${copy}`);
  }
  if (isArray(value)) return join(value, "");
  throw new TypeError(`display: ${type} must be a string or bytes, not ${inspect(value)}`);
}

/**
 * Makes a bundle of what the user gave as one.
 * @param {object} given MIME type to value
 * @param {unknown} value what it stands for, shown as text when the bundle has none; undefined
 *   when there is no such thing
 * @param {object} [metadata]
 */
function bundle(given, value, metadata = {}) {
  if (!isObject(given)) {
    throw new TypeError(`display: a MIME bundle must be an object, not ${inspect(given)}`);
  }
  const data = { __proto__: null };
  const types = keys(given);
  for (let i = 0; i < types.length; i++) {
    const item = given[types[i]];
    if (item !== undefined && item !== null) data[types[i]] = entry(types[i], item);
  }
  data[PLAIN] ??= value === undefined ? `[${join(types, ", ")}]` : inspect(value);
  return { data, metadata };
}

/**
 * Makes a bundle of what a value says of itself. What is wrong in it is told and left out: the
 * value is shown all the same.
 */
function described(given, value, metadata) {
  const data = { __proto__: null };
  const types = isObject(given) ? keys(given) : [];
  if (!isObject(given ?? data)) {
    tell(new TypeError(`display: a MIME bundle must be an object, not ${inspect(given)}`));
  }
  for (let i = 0; i < types.length; i++) {
    try {
      const item = given[types[i]] ?? undefined;
      if (item !== undefined) data[types[i]] = entry(types[i], item);
    } catch (error) {
      delete data[types[i]];
      tell(error);
    }
  }
  return bundle(data, value, isObject(metadata) ? metadata : undefined);
}

/** Calls `next` with a value, or with what its promise comes to. */
const whenReady = (value, next) => (isPromise(value) ? then(value, next) : next(value));

/** What a value's own method throws doesn't hide the value: it is told, and the rest is shown. */
function attempt(method, value) {
  try {
    const shown = apply(method, value, []);
    return isPromise(shown) ? then(shown, undefined, tell) : shown;
  } catch (error) {
    return tell(error);
  }
}

function tell(error) {
  require("errors").report(error, "display");
}

function fromPython(value) {
  const whole = methodOf(value, "_repr_mimebundle_");
  if (whole !== undefined) {
    return whenReady(attempt(whole, value), (given) =>
      isArray(given) ? described(given[0], value, given[1]) : described(given, value));
  }
  let pending;
  const given = { __proto__: null };
  for (let i = 0; i < REPRESENTATIONS.length; i++) {
    const { 0: name, 1: type } = REPRESENTATIONS[i];
    const method = methodOf(value, name);
    if (method === undefined) continue;
    const shown = attempt(method, value);
    if (isPromise(shown)) {
      const stored = then(shown, (text) => void (given[type] = text));
      pending = pending === undefined ? stored : then(pending, () => stored);
    } else {
      given[type] = shown;
    }
  }
  if (pending !== undefined) return then(pending, () => described(given, value));
  return keys(given).length === 0 ? undefined : described(given, value);
}

/** A Blob's bytes come later; its type says what they are. */
function fromBlob(blob) {
  const { type } = blob;
  return then(blob.arrayBuffer(), (buffer) => {
    const bytes = bytesUnder(buffer);
    const found = startsWith(type, "image/") ? type : sniff(bytes);
    return bundle(found === undefined ? {} : { [found]: bytes }, blob);
  });
}

function recognised(value) {
  const bytes = bytesOf(value);
  if (bytes !== undefined) {
    const type = sniff(bytes);
    return type === undefined ? undefined : bundle({ [type]: bytes, [PLAIN]: sizeOf(type, bytes) });
  }
  if (constructorName(value) === "Blob") return fromBlob(value);
  const types = specTypes(value);
  if (types.length === 0) return undefined;
  return described(types[0] === GEOJSON ? geoBundle(value) : under(types, value), value);
}

/**
 * An element of a document is its markup. A lone picture is shown as one if it says what it is,
 * as a front end that shows pictures by themselves needs to know.
 */
function fromElement(value) {
  let text;
  try {
    text = value.outerHTML;
  } catch {
    return undefined; // as the getter of a class does when its prototype is shown
  }
  if (typeof text !== "string" || exec(MARKUP, text) === null) return undefined;
  if (includes(text, PLOTLY_CLASS)) {
    try {
      const figure = require("plotly").figureOf(value, text);
      if (figure !== undefined) return described(figure, value);
    } catch (error) {
      tell(error);
    }
  }
  const isPicture = exec(PICTURE, text) !== null && endsWith(trimEnd(text), "</svg>");
  const kind = isPicture ? "svg" : "html";
  return bundle(require("markup").markupBundle(kind, text), value);
}

/** One value under several MIME types. */
function under(types, value) {
  const given = { __proto__: null };
  for (let i = 0; i < types.length; i++) given[types[i]] = value;
  return given;
}

const sizeOf = (type, bytes) => `[${type}, ${typedLength(bytes)} bytes]`;

/**
 * How a value is shown.
 * @param {unknown} value
 * @returns {{data: object, metadata: object} | Promise<{data: object, metadata: object}>}
 */
function represent(value) {
  if (isObject(value) && typeOf(value) !== "Proxy") {
    const own = methodOf(value, DISPLAY);
    if (own !== undefined) {
      return whenReady(apply(own, value, []), (given) => bundle(given ?? {}, value));
    }
    const found = fromPython(value) ?? fromElement(value) ?? recognised(value);
    if (found !== undefined) return found;
  }
  return { data: { __proto__: null, [PLAIN]: inspect(value) }, metadata: {} };
}

exports.DISPLAY = DISPLAY;
exports.bundle = bundle;
exports.isPromise = isPromise;
exports.represent = represent;
exports.sizeOf = sizeOf;
exports.under = under;

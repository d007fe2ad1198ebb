"use strict";
// Plotly's figures: plain data for front ends that draw them, and what the library has drawn
// into an element, as a picture for the others.

const { Map, ObjectPrototype, arrayFrom, charCode, exec, getPrototype, isArray, join, keys, map,
  mapGet, mapSet, numberToString, ownValue, replaceAll } = require("intrinsics");
const { typeOf } = host;

const PLOTLY = "application/vnd.plotly.v1+json";
const DIV = /^<\w+[^>]*\sclass="[^"]*\bjs-plotly-plot\b/;
const TYPED = /^(?:Int|Uint|Float)\d+Array$|^Uint8ClampedArray$/;
const DEPTH_MAX = 64;
const NAMESPACES =
  'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"';
// For the mouse only, and what Plotly notes for itself, which needn't be XML.
const UNSHOWN = ".draglayer, .hoverlayer, .zoomlayer";
const NOTES = ["data-unformatted", "data-math"];

/** A figure's data as JSON has it: Plotly takes typed arrays for numbers, which JSON hasn't. */
function plainOf(value, seen = new Map(), depth = 0) {
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) return value;
  if (exec(TYPED, typeOf(value) ?? "") !== null) return arrayFrom(value);
  const known = mapGet(seen, value);
  if (known !== undefined) return known;
  const isList = isArray(value);
  const prototype = isList ? undefined : getPrototype(value);
  if (!isList && prototype !== ObjectPrototype && prototype !== null) return value;
  const copy = isList ? [] : {};
  mapSet(seen, value, copy);
  const names = keys(value);
  for (let i = 0; i < names.length; i++) copy[names[i]] = plainOf(value[names[i]], seen, depth + 1);
  return copy;
}

/** A short name that follows from a text. */
function digestOf(text) {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (hash * 31 + charCode(text, i)) >>> 0;
  return numberToString(hash, 36);
}

/**
 * The names in a picture are random ones of Plotly's: the same figure is to give the same
 * picture, and others in the same document are to have other names.
 */
function named(text, uid) {
  if (typeof uid !== "string" || exec(/^\w+$/, uid) === null) return text;
  return replaceAll(text, uid, digestOf(replaceAll(text, uid, "")));
}

/** The pictures that lie above one another in Plotly's element, as one. */
function pictureOf(div) {
  const layers = [...div.querySelectorAll("svg.main-svg")];
  if (layers.length === 0) return undefined;
  const drawn = map(layers, (layer) => {
    const copy = layer.cloneNode(true);
    for (const element of copy.querySelectorAll(UNSHOWN)) element.remove();
    for (const element of copy.querySelectorAll("text")) {
      for (const name of NOTES) element.removeAttribute(name);
    }
    return copy.outerHTML;
  });
  const size = map(["width", "height"], (name) => +layers[0].getAttribute(name) || 0);
  const { paper_bgcolor: paper, _uid: uid } = ownValue(div, "_fullLayout") ?? {};
  const fill = exec(/^[\w#(),.%\s]+$/, `${paper}`) === null ? "none" : paper;
  return `<svg ${NAMESPACES} width="${size[0]}" height="${size[1]}" ` +
    `viewBox="0 0 ${size[0]} ${size[1]}">` +
    `<rect width="100%" height="100%" fill="${fill}"/>${named(join(drawn, ""), uid)}</svg>`;
}

/**
 * What an element shows into which Plotly has drawn.
 * @param {object} element
 * @param {string} markup its outerHTML
 * @returns {Record<string, unknown> | undefined} MIME type to value; undefined for others
 */
exports.figureOf = function figureOf(element, markup) {
  const data = ownValue(element, "data");
  if (exec(DIV, markup) === null || !isArray(data)) return undefined;
  const figure = { data, layout: ownValue(element, "layout") ?? {} };
  return {
    __proto__: null,
    [PLOTLY]: plainOf(figure),
    "image/svg+xml": pictureOf(element),
    "text/plain": `[Plotly, ${data.length} ${data.length === 1 ? "trace" : "traces"}]`,
  };
};

/**
 * A figure as front ends want it.
 * @param {unknown} figure
 * @returns {Record<string, unknown>} MIME type to value
 */
exports.figureBundle = (figure) => ({ __proto__: null, [PLOTLY]: plainOf(figure) });

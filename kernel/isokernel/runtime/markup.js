"use strict";
// Text that is to be shown as HTML, Markdown or SVG: what the tagged templates give.

const { isArray, join, map, toText } = require("intrinsics");
const { DISPLAY } = require("mime");
const { INSPECT } = require("text");

const TYPES = {
  __proto__: null,
  html: "text/html",
  md: "text/markdown",
  svg: "image/svg+xml",
};
const LONGEST_PLAIN = 1000; // characters of markup that stand for themselves as plain text

/** Markup as plain text: itself, as long as a person would read it. */
function plain(kind, text) {
  return kind === "md" || text.length <= LONGEST_PLAIN
    ? text
    : `[${TYPES[kind]}, ${text.length} characters]`;
}

/** The bundle of a piece of markup. */
function markupBundle(kind, text) {
  return { [TYPES[kind]]: text, "text/plain": plain(kind, text) };
}

class Markup {
  #kind;
  #text;

  constructor(kind, text) {
    this.#kind = kind;
    this.#text = text;
  }

  [DISPLAY]() {
    return markupBundle(this.#kind, this.#text);
  }

  [INSPECT]() {
    return `${this.#kind}\`${this.#text}\``;
  }

  /** The text itself, so that a piece can be put into another one. */
  toString() {
    return this.#text;
  }
}

/** Interpolated values go in as they are, nothing is escaped; lists piece by piece. */
function insert(value) {
  if (value === undefined || value === null) return "";
  return isArray(value) ? join(map(value, insert), "") : toText(value);
}

function tag(kind) {
  return (strings, ...values) => {
    let text = strings[0];
    for (let i = 0; i < values.length; i++) text += insert(values[i]) + strings[i + 1];
    return new Markup(kind, text);
  };
}

exports.tags = { html: tag("html"), md: tag("md"), svg: tag("svg") };
exports.markupBundle = markupBundle;

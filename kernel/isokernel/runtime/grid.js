"use strict";
// Rows of data as an HTML table, beside the text that console.table draws.

const { TypeError, create, exec, hasOwn, isArray, join, map, push, replaceAll } =
  require("intrinsics");
const { inspect } = require("text");
const { RAW_GAP, columnsOf, cut, membersOf, placesOf, table, tableOf } = require("table");
const { previewEntries, typeOf } = host;

const INDEX = /^[0-9]+$/;
// As pandas cuts a DataFrame: of more rows than these the first and last five are shown, of
// more columns the first and last ten.
const ROWS_MAX = 60;
const ROWS_AT_EDGE = 5;
const COLUMNS = { __proto__: null, columns: 20, columnsAtEdge: 10 };
const CELL_MAX = 10000; // characters of a string
const GAP = "…";
const SHORTEST = { depth: 1, maxArrayLength: 10, maxStringLength: 200, breakLength: Infinity };

function escape(text) {
  text = replaceAll(text, "&", "&amp;");
  text = replaceAll(text, "<", "&lt;");
  return replaceAll(text, ">", "&gt;");
}

/** A cell's text: strings as they are, other values as the console shows them. */
function show(value) {
  if (value === undefined) return "";
  return escape(cut(typeof value === "string" ? value : inspect(value, SHORTEST), CELL_MAX));
}

const cells = (tag, values) => join(map(values, (value) => `<${tag}>${value}</${tag}>`), "");

const isRow = (value) => typeof value === "object" && value !== null;

/** The rows of a value: pairs of a Map, members of a Set, else what an array holds. */
function rowsOf(value) {
  const brand = typeOf(value);
  if (brand === "Map" || brand === "Set") {
    const { 0: flat, 1: areKeyed } = previewEntries(value);
    const step = areKeyed ? 2 : 1;
    return { count: flat.length / step, row: (place) => flat[place * step + step - 1],
      label: areKeyed ? (place) => flat[place * step] : undefined };
  }
  // Named though there is none: all objects may have a `label`.
  if (isArray(value)) {
    return { count: value.length, row: (place) => value[place], label: undefined };
  }
  const { count, name } = membersOf(value);
  return { count, row: (place) => value[name(place)], label: name };
}

function rowHtml(row, columns, hasScalars) {
  const values = map(columns, (name) => {
    if (name === null) return GAP;
    return isRow(row) && hasOwn(row, name) ? show(row[name]) : "";
  });
  if (hasScalars) push(values, isRow(row) ? "" : show(row));
  return cells("td", values);
}

/**
 * What console.table draws with the same columns: a Map's rows under their labels. Labels that
 * an object would put into another order stay in their Map, and its rows in one column.
 */
function textRows(value, { count, row, label }) {
  if (label === undefined) return isArray(value) ? value : map(placesOf(count, count), row);
  const named = create(null);
  for (let i = 0; i < count; i++) {
    if (typeof label(i) !== "string" || exec(INDEX, label(i)) !== null) return value;
    named[label(i)] = row(i);
  }
  return named;
}

/**
 * An array of objects or arrays, a Map or a Set as a table.
 * @param {object} value
 * @param {string[]} [wanted] the columns to show
 * @returns {Record<string, string>} a MIME bundle
 */
exports.grid = function grid(value, wanted) {
  if (!isRow(value)) throw new TypeError(`display.table: no rows in ${inspect(value, SHORTEST)}`);
  const all = rowsOf(value);
  const { count, label } = all;
  const places = placesOf(count, ROWS_MAX, ROWS_AT_EDGE);
  const shown = map(places, (place) => (place < 0 ? RAW_GAP : all.row(place)));
  const names = wanted ?? columnsOf(shown);
  const columns = map(
    placesOf(names.length, COLUMNS.columns, COLUMNS.columnsAtEdge),
    (place) => (place < 0 ? null : names[place]),
  );
  const isCut = shown.length < count || columns.length < names.length;
  let hasScalars = false;
  for (let i = 0; i < shown.length; i++) if (!isRow(shown[i])) hasScalars = true;
  const head = map(columns, (name) => (name === null ? GAP : escape(cut(`${name}`, CELL_MAX))));
  if (hasScalars) push(head, columns.length === 0 ? "value" : "");
  let body = "";
  for (let i = 0; i < shown.length; i++) {
    const place = places[i];
    if (place < 0) {
      body += `<tr><th>${GAP}</th>${cells("td", map(head, () => GAP))}</tr>\n`;
      continue;
    }
    const mark = label === undefined ? `${place}` : show(label(place));
    body += `<tr><th>${mark}</th>${rowHtml(shown[i], columns, hasScalars)}</tr>\n`;
  }
  const html = `<table>\n<thead><tr><th></th>${cells("th", head)}</tr></thead>\n` +
    `<tbody>\n${body}</tbody>\n</table>`;
  if (!isCut) return { "text/html": html, "text/plain": table(textRows(value, all), wanted) };
  const marks = map(places, (place) => {
    if (place < 0) return GAP;
    if (label === undefined) return `${place}`;
    return typeof label(place) === "string" ? label(place) : inspect(label(place), SHORTEST);
  });
  const size = `${count} rows × ${names.length + (hasScalars ? 1 : 0)} columns`;
  return {
    "text/html": `${html}\n<p>${size}</p>`,
    "text/plain": tableOf(marks, shown, wanted, { ...COLUMNS, count }),
  };
};

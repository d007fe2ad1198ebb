"use strict";
// Rows of data as an HTML table, beside the text that console.table draws.

const { Set, create, exec, hasOwn, isArray, join, keys, map, push, replaceAll, setAdd, setHas } =
  require("intrinsics");
const { INSPECT, inspect } = require("text");
const { table, tableOf } = require("table");
const { previewEntries, typeOf } = host;

const INDEX = /^[0-9]+$/;
// As pandas cuts a DataFrame: of more rows than these the first and last five are shown, of
// more columns the first and last ten.
const ROWS_MAX = 60;
const ROWS_AT_EDGE = 5;
const COLUMNS_MAX = 20;
const COLUMNS_AT_EDGE = 10;
const GAP = "…";
// Drawn as it is, without the quotes of a string.
const RAW_GAP = { [INSPECT]: () => GAP };
const SHORTEST = { depth: 1, maxArrayLength: 10, maxStringLength: 200, breakLength: Infinity };

function escape(text) {
  text = replaceAll(text, "&", "&amp;");
  text = replaceAll(text, "<", "&lt;");
  return replaceAll(text, ">", "&gt;");
}

/** A cell's text: strings as they are, other values as the console shows them. */
function show(value) {
  if (value === undefined) return "";
  return escape(typeof value === "string" ? value : inspect(value, SHORTEST));
}

const cells = (tag, values) => join(map(values, (value) => `<${tag}>${value}</${tag}>`), "");

const isRow = (value) => typeof value === "object" && value !== null;

/** The rows of a value: pairs of a Map, members of a Set, else what an array holds. */
function rowsOf(value) {
  const brand = typeOf(value);
  if (brand === "Map" || brand === "Set") {
    const { 0: flat, 1: areKeyed } = previewEntries(value);
    if (!areKeyed) return { rows: flat };
    const rows = [];
    const labels = [];
    for (let i = 0; i < flat.length; i += 2) {
      push(labels, flat[i]);
      push(rows, flat[i + 1]);
    }
    return { rows, labels };
  }
  if (isArray(value)) return { rows: value };
  const labels = keys(value);
  return { rows: map(labels, (label) => value[label]), labels };
}

/** The places of what is shown of a number of things; -1 where others are left out. */
function placesOf(count, most, atEdge) {
  const places = [];
  const isCut = count > most;
  for (let i = 0; i < (isCut ? atEdge : count); i++) push(places, i);
  if (!isCut) return places;
  push(places, -1);
  for (let i = count - atEdge; i < count; i++) push(places, i);
  return places;
}

/** The names of all columns, in the order in which rows bring them. */
function columnsOf(rows) {
  const names = [];
  const seen = new Set();
  for (let i = 0; i < rows.length; i++) {
    if (!isRow(rows[i])) continue;
    const own = keys(rows[i]);
    for (let k = 0; k < own.length; k++) {
      if (setHas(seen, own[k])) continue;
      setAdd(seen, own[k]);
      push(names, own[k]);
    }
  }
  return names;
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
function textRows(value, rows, labels) {
  if (labels === undefined) return rows;
  const named = create(null);
  for (let i = 0; i < rows.length; i++) {
    if (typeof labels[i] !== "string" || exec(INDEX, labels[i]) !== null) return value;
    named[labels[i]] = rows[i];
  }
  return named;
}

/** The text of a table of which some rows or columns are left out. */
function cutText(labels, rows, columns, hasScalars) {
  const names = map(columns, (name) => name ?? GAP);
  if (hasScalars) push(names, "Values");
  const lines = map(rows, (row, i) => {
    const cells = create(null);
    for (let k = 0; k < columns.length; k++) {
      const name = columns[k];
      if (labels[i] === GAP || name === null) cells[names[k]] = RAW_GAP;
      else if (isRow(row) && hasOwn(row, name)) cells[name] = row[name];
    }
    if (hasScalars && (labels[i] === GAP || !isRow(row))) {
      cells.Values = labels[i] === GAP ? RAW_GAP : row;
    }
    return cells;
  });
  return tableOf(labels, lines, names);
}

/**
 * An array of objects or arrays, a Map or a Set as a table.
 * @param {object} value
 * @param {string[]} [wanted] the columns to show
 * @returns {Record<string, string>} a MIME bundle
 */
exports.grid = function grid(value, wanted) {
  if (!isRow(value)) throw new TypeError(`display.table: no rows in ${inspect(value)}`);
  const { rows, labels } = rowsOf(value);
  const places = placesOf(rows.length, ROWS_MAX, ROWS_AT_EDGE);
  const shown = map(places, (place) => (place < 0 ? {} : rows[place]));
  const names = wanted ?? columnsOf(shown);
  const columns = map(
    placesOf(names.length, COLUMNS_MAX, COLUMNS_AT_EDGE),
    (place) => (place < 0 ? null : names[place]),
  );
  const isCut = shown.length < rows.length || columns.length < names.length;
  let hasScalars = false;
  for (let i = 0; i < shown.length; i++) if (!isRow(shown[i])) hasScalars = true;
  const head = map(columns, (name) => (name === null ? GAP : escape(`${name}`)));
  if (hasScalars) push(head, columns.length === 0 ? "value" : "");
  let body = "";
  for (let i = 0; i < shown.length; i++) {
    const place = places[i];
    if (place < 0) {
      body += `<tr><th>${GAP}</th>${cells("td", map(head, () => GAP))}</tr>\n`;
      continue;
    }
    const label = labels === undefined ? `${place}` : show(labels[place]);
    body += `<tr><th>${label}</th>${rowHtml(shown[i], columns, hasScalars)}</tr>\n`;
  }
  const size = `${rows.length} rows × ${names.length + (hasScalars ? 1 : 0)} columns`;
  const html = `<table>\n<thead><tr><th></th>${cells("th", head)}</tr></thead>\n` +
    `<tbody>\n${body}</tbody>\n</table>`;
  if (!isCut) {
    return { "text/html": html, "text/plain": table(textRows(value, rows, labels), wanted) };
  }
  const marks = map(places, (place) => {
    if (place < 0) return GAP;
    if (labels === undefined) return `${place}`;
    return typeof labels[place] === "string" ? labels[place] : inspect(labels[place], SHORTEST);
  });
  return {
    "text/html": `${html}\n<p>${size}</p>`,
    "text/plain": `${cutText(marks, shown, columns, hasScalars)}\n${size}`,
  };
};

"use strict";
// Rows of data as an HTML table, beside the text that console.table draws.

const { create, exec, hasOwn, isArray, join, keys, map, push, replaceAll, setAdd, setHas } =
  require("intrinsics");
const { inspect } = require("text");
const { table } = require("table");
const { previewEntries, typeOf } = host;

const INDEX = /^[0-9]+$/;
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
  const values = map(columns, (name) => (isRow(row) && hasOwn(row, name) ? show(row[name]) : ""));
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

/**
 * An array of objects or arrays, a Map or a Set as a table.
 * @param {object} value
 * @param {string[]} [wanted] the columns to show
 * @returns {Record<string, string>} a MIME bundle
 */
exports.grid = function grid(value, wanted) {
  if (!isRow(value)) throw new TypeError(`display.table: no rows in ${inspect(value)}`);
  const { rows, labels } = rowsOf(value);
  const columns = wanted ?? columnsOf(rows);
  let hasScalars = false;
  for (let i = 0; i < rows.length; i++) if (!isRow(rows[i])) hasScalars = true;
  const head = map(columns, (name) => escape(`${name}`));
  if (hasScalars) push(head, columns.length === 0 ? "value" : "");
  let body = "";
  for (let i = 0; i < rows.length; i++) {
    const label = labels === undefined ? `${i}` : show(labels[i]);
    body += `<tr><th>${label}</th>${rowHtml(rows[i], columns, hasScalars)}</tr>\n`;
  }
  return {
    "text/html": `<table>\n<thead><tr><th></th>${cells("th", head)}</tr></thead>\n` +
      `<tbody>\n${body}</tbody>\n</table>`,
    "text/plain": table(textRows(value, rows, labels), wanted),
  };
};

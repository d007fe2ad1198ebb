"use strict";
// console.table: which rows and columns a value has, and the drawing of them, as in Node.js.

const { create, hasOwn, isArray, join, keys, map, max, push, repeat } = require("intrinsics");
const { inspect, width } = require("text");
const { previewEntries, typeOf } = host;

const INDEX = "(index)";
const ITERATION = "(iteration index)";
const KEY = "Key";
const VALUES = "Values";

/** A cell's text: nothing below the first level, and little of it. */
function show(value) {
  const deep = value !== null && typeof value === "object" && !isArray(value) &&
    keys(value).length > 2;
  return inspect(value, { depth: deep ? -1 : 0, maxArrayLength: 3, breakLength: Infinity });
}

const isPrimitive = (value) =>
  value === null || (typeof value !== "object" && typeof value !== "function");

function line(cells, widths) {
  const padded = map(cells, (cell, i) => ` ${cell}${repeat(" ", widths[i] - width(cell) - 1)}`);
  return `│${join(padded, "│")}│\n`;
}

/**
 * Draws a table with the lines that boxes are made of.
 * @param {string[]} head
 * @param {string[][]} columns
 * @returns {string} without a newline at the end
 */
function draw(head, columns) {
  const widths = map(head, (title, i) => {
    let widest = width(title);
    for (let row = 0; row < columns[i].length; row++) {
      if (hasOwn(columns[i], row)) widest = max(widest, width(columns[i][row]));
    }
    return widest + 2;
  });
  let height = 0;
  for (let i = 0; i < columns.length; i++) height = max(height, columns[i].length);
  const rules = map(widths, (w) => repeat("─", w));
  let text = `┌${join(rules, "┬")}┐\n${line(head, widths)}├${join(rules, "┼")}┤\n`;
  for (let row = 0; row < height; row++) {
    text += line(map(columns, (column) => (hasOwn(column, row) ? column[row] : "")), widths);
  }
  return `${text}└${join(rules, "┴")}┘`;
}

/** Rows of a Map, a Set or an iterator over one. */
function ofEntries(value) {
  const { 0: flat, 1: areKeyed } = previewEntries(value);
  const numbers = [];
  const first = [];
  const second = [];
  const step = areKeyed ? 2 : 1;
  for (let i = 0; i < flat.length; i += step) {
    push(numbers, `${i / step}`);
    push(first, show(flat[i]));
    if (areKeyed) push(second, show(flat[i + 1]));
  }
  return areKeyed
    ? draw([ITERATION, KEY, VALUES], [numbers, first, second])
    : draw([ITERATION, VALUES], [numbers, first]);
}

/** Puts one row's cells into the columns, adding the columns that it is the first to have. */
function addRow(columns, row, names, number) {
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    columns[name] ??= [];
    columns[name][number] = isPrimitive(row) || !hasOwn(row, name) ? "" : show(row[name]);
  }
}

/**
 * The text of console.table, or undefined when the value has no rows.
 * @param {unknown} value
 * @param {string[]} [wanted] the columns to show; all of them when left out
 * @returns {string | undefined}
 */
exports.table = function table(value, wanted) {
  if (isPrimitive(value)) return undefined;
  const brand = typeOf(value);
  if (brand === "Map" || brand === "Set" || brand === "MapIterator" || brand === "SetIterator") {
    return ofEntries(value);
  }
  const index = keys(value);
  return tableOf(index, map(index, (name) => value[name]), wanted);
};

/**
 * The text of a table whose rows are known.
 * @param {string[]} index what stands before each row
 * @param {unknown[]} rows
 * @param {string[]} [wanted] the columns to show; all of them when left out
 * @returns {string}
 */
function tableOf(index, rows, wanted) {
  const columns = create(null);
  const values = [];
  let hasValues = false;
  for (let i = 0; i < index.length; i++) {
    const row = rows[i];
    if (wanted === undefined && isPrimitive(row)) {
      hasValues = true;
      values[i] = show(row);
    } else {
      addRow(columns, row, wanted ?? keys(row), i);
    }
  }
  const names = keys(columns);
  const head = [INDEX];
  const body = [index];
  for (let i = 0; i < names.length; i++) {
    push(head, names[i]);
    push(body, columns[names[i]]);
  }
  if (hasValues) {
    push(head, VALUES);
    push(body, values);
  }
  for (let i = 0; i < body.length; i++) body[i].length = index.length;
  return draw(head, body);
}
exports.tableOf = tableOf;

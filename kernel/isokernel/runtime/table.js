"use strict";
// console.table: which rows and columns a value has, and the drawing of them, as in Node.js.

const { create, floor, hasOwn, isArray, join, keys, map, max, min, push, repeat, slice } =
  require("intrinsics");
const { INSPECT, inspect, width } = require("text");
const { isTyped } = require("json");
const { previewEntries, typeOf } = host;

const INDEX = "(index)";
const ITERATION = "(iteration index)";
const KEY = "Key";
const VALUES = "Values";
const GAP = "…";
// Drawn as it is, without the quotes of a string.
const RAW_GAP = { [INSPECT]: () => GAP };

// What is drawn of a table; of more, the edges. The size of the whole is told then.
const LIMITS = { __proto__: null, rows: 1000, rowsAtEdge: 100, columns: 100, columnsAtEdge: 20 };
const TEXT_MAX = 1 << 22; // characters of all cells, about
const CELL_MAX = 1000; // characters of a cell
const CELL_MIN = 40; // to which it may be cut
const NAMES_MAX = 10000; // of columns that are looked at

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

/**
 * The members of an object by their number. Indices of what is long aren't listed.
 * @returns {{count: number, name: (place: number) => string}}
 */
function membersOf(value) {
  const isList = isArray(value) || typeOf(value) === "StringObject" || isTyped(typeOf(value));
  if (isList && value.length > LIMITS.rows) {
    return { __proto__: null, count: value.length, name: (place) => `${place}` };
  }
  const names = keys(value);
  return { __proto__: null, count: names.length, name: (place) => names[place] };
}

/** A text of at most so many characters. */
const cut = (text, most) => (text.length > most ? `${slice(text, 0, most - 1)}…` : text);

/** A cell's text: nothing below the first level, and little of it. */
function show(value, most) {
  const deep = value !== null && typeof value === "object" && !isArray(value) &&
    keys(value).length > 2;
  const options = { depth: deep ? -1 : 0, maxArrayLength: 3, breakLength: Infinity };
  return cut(inspect(value, options), most);
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
    for (let row = 0; row < columns[i].length; row++) widest = max(widest, width(columns[i][row]));
    return widest + 2;
  });
  const rules = map(widths, (w) => repeat("─", w));
  let text = `┌${join(rules, "┬")}┐\n${line(head, widths)}├${join(rules, "┼")}┤\n`;
  for (let row = 0; row < columns[0].length; row++) {
    text += line(map(columns, (column) => column[row]), widths);
  }
  return `${text}└${join(rules, "┴")}┘`;
}

/** Rows of a Map, a Set or an iterator over one. */
function ofEntries(value) {
  const { 0: flat, 1: areKeyed } = previewEntries(value);
  const step = areKeyed ? 2 : 1;
  const count = flat.length / step;
  const places = placesOf(count, LIMITS.rows, LIMITS.rowsAtEdge);
  const most = cellMax(places.length, step);
  const column = (text) => map(places, (place) => (place < 0 ? GAP : text(place)));
  const numbers = column((place) => `${place}`);
  const first = column((place) => show(flat[place * step], most));
  const text = areKeyed
    ? draw([ITERATION, KEY, VALUES],
      [numbers, first, column((place) => show(flat[place * step + 1], most))])
    : draw([ITERATION, VALUES], [numbers, first]);
  return places.length < count ? `${text}\n${count} rows` : text;
}

/** How long a cell may be, so that all of them aren't too long. */
const cellMax = (rows, columns) =>
  min(max(floor(TEXT_MAX / max(rows * columns, 1)), CELL_MIN), CELL_MAX);

/** The names of all columns: numbers first, else in the order in which rows bring them. */
function columnsOf(rows) {
  const names = create(null);
  let count = 0;
  for (let i = 0; i < rows.length && count < NAMES_MAX; i++) {
    if (isPrimitive(rows[i]) || rows[i] === RAW_GAP) continue;
    const own = membersOf(rows[i]);
    for (let k = 0; k < own.count && count < NAMES_MAX; k++) {
      if (own.name(k) in names) continue;
      names[own.name(k)] = true;
      count += 1;
    }
  }
  return keys(names);
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
  const { count, name } = membersOf(value);
  const places = placesOf(count, LIMITS.rows, LIMITS.rowsAtEdge);
  const index = map(places, (place) => (place < 0 ? GAP : name(place)));
  const rows = map(places, (place) => (place < 0 ? RAW_GAP : value[name(place)]));
  return tableOf(index, rows, wanted, { __proto__: null, ...LIMITS, count });
};

/**
 * The text of a table whose rows are known.
 * @param {string[]} index what stands before each row
 * @param {unknown[]} rows RAW_GAP where others are left out
 * @param {string[]} [wanted] the columns to show; all of them when left out
 * @param {object} [limits] columns, columnsAtEdge: how many are shown; count: of the rows, with
 *   those that are left out
 * @returns {string} the table, and its size if some of it is left out
 */
function tableOf(index, rows, wanted, limits = LIMITS) {
  const { count = rows.length } = limits;
  const names = wanted ?? columnsOf(rows);
  const places = placesOf(names.length, limits.columns, limits.columnsAtEdge);
  const most = cellMax(rows.length, places.length + 1);
  const head = [INDEX];
  const body = [map(index, (label) => cut(label, most))];
  for (let i = 0; i < places.length; i++) {
    const name = places[i] < 0 ? GAP : names[places[i]];
    push(head, cut(`${name}`, most));
    push(body, map(rows, (row) => {
      if (places[i] < 0 || row === RAW_GAP) return GAP;
      return isPrimitive(row) || !hasOwn(row, name) ? "" : show(row[name], most);
    }));
  }
  const isScalar = (row) => wanted === undefined && isPrimitive(row);
  let hasScalars = false;
  for (let i = 0; i < rows.length; i++) hasScalars ||= isScalar(rows[i]);
  if (hasScalars) {
    push(head, VALUES);
    push(body, map(rows, (row) => {
      if (row === RAW_GAP) return GAP;
      return isScalar(row) ? show(row, most) : "";
    }));
  }
  const text = draw(head, body);
  if (rows.length === count && places.length === names.length) return text;
  const columns = names.length + (hasScalars ? 1 : 0);
  return `${text}\n${count} rows × ${names.length < NAMES_MAX ? "" : "over "}${columns} columns`;
}

exports.RAW_GAP = RAW_GAP;
exports.columnsOf = columnsOf;
exports.cut = cut;
exports.membersOf = membersOf;
exports.placesOf = placesOf;
exports.tableOf = tableOf;

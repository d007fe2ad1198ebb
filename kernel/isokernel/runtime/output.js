"use strict";
// Text and events on their way out. Crossing into Python costs microseconds, so text is
// gathered here and handed over in pieces; order is kept because one piece holds text of one
// stream and one owner only, and an event sends the gathered text first.

const { currentTime, charCode, endsWith, mapDelete, mapGet, mapKeys, mapNext, mapSet, mapSize,
  min, numberToString, slice, toJson } = require("intrinsics");
const { owner } = require("owner");

const PIECE = 131072; // characters: what is gathered at most
// ms: slow writers are seen at once. One that goes on printing is seen less and less often, as a
// front end draws its whole growing text anew for each piece.
const SHORTEST_INTERVAL = 20;
const LONGEST_INTERVAL = 200;
const GROWTH = 1.25;
const PAUSE = 1000; // ms without output after which the next is seen at once again
const OWNERS_KEPT = 1000; // executions whose amount of output is remembered

let limit = Infinity;
let pending = "";
let pendingStream = "stdout";
let pendingOwner = 0;
let lastWrite = 0;
let interval = SHORTEST_INTERVAL;

// How much each execution has printed. The current one's amount is in plain variables.
const amounts = new Map();
let countedOwner = 0;
let amount = 0;

/** @param {number | undefined} max characters of stream text that one execution may print */
exports.setLimit = (max) => {
  if (max > 0) limit = max;
};

/** How many characters a piece of an execution's output may have at all. */
exports.limit = () => limit;

/** Hands the gathered text to Python. Safe to call at any time, also in the midst of write. */
function flush() {
  if (pending === "") return;
  const text = pending;
  pending = "";
  lastWrite = currentTime();
  host.write(pendingStream, text, pendingOwner);
}

function countFor(id) {
  mapSet(amounts, countedOwner, amount);
  if (mapSize(amounts) > OWNERS_KEPT) mapDelete(amounts, mapNext(mapKeys(amounts)).value);
  countedOwner = id;
  amount = mapGet(amounts, id) ?? 0;
}

function append(stream, text, id) {
  if (stream !== pendingStream || id !== pendingOwner) {
    flush();
    pendingStream = stream;
    pendingOwner = id;
  }
  pending += text;
  const quiet = currentTime() - lastWrite;
  if (quiet > PAUSE) interval = SHORTEST_INTERVAL;
  if (quiet <= interval && pending.length < PIECE) return;
  interval = min(interval * GROWTH, LONGEST_INTERVAL);
  flush();
}

/** Hands over what has waited long enough, for a writer that has stopped to write. */
function tick() {
  if (currentTime() - lastWrite > interval) flush();
}

/** Prints what still fits and says once that the rest is missing. */
function cut(stream, text, id, before) {
  if (before > limit) return;
  amount = limit + 1;
  let end = limit - before;
  // Half of a surrogate pair is no character.
  if (end > 0 && (charCode(text, end - 1) & 0xfc00) === 0xd800) end -= 1;
  const rest = slice(text, 0, end);
  if (rest !== "") append(stream, rest, id);
  const notice =
    `[output cut after ${limit} characters; raise the setting cell_output_characters_max to see more]\n`;
  append("stderr", rest === "" || endsWith(rest, "\n") ? notice : `\n${notice}`, id);
}

/**
 * Prints text, soon.
 * @param {"stdout" | "stderr"} stream
 * @param {string} text
 */
function write(stream, text) {
  const id = owner();
  if (id !== countedOwner) countFor(id);
  const before = amount;
  amount = before + text.length;
  if (amount > limit) cut(stream, text, id, before);
  else append(stream, text, id);
}

/**
 * Sends an event, after the text that came before it.
 * @param {string} kind the Jupyter message type
 * @param {object} content
 * @param {Uint8Array[]} [buffers]
 */
function emit(kind, content, buffers) {
  const json = toJson(content);
  flush();
  if (buffers === undefined) host.emit(kind, json, owner());
  else host.emit(kind, json, owner(), buffers);
}

/** An id that no other context makes, for a display or a comm. */
function newId() {
  const bytes = host.random(16);
  let id = "";
  for (let i = 0; i < bytes.length; i++) id += slice(numberToString(bytes[i] + 256, 16), 1);
  return id;
}

exports.flush = flush;
exports.tick = tick;
exports.write = write;
exports.emit = emit;
exports.newId = newId;

"use strict";
// Text and events on their way out. Crossing into Python costs microseconds, so text is
// gathered here and handed over in pieces; order is kept because one piece holds text of one
// stream and one owner only, and an event sends the gathered text first.

const { Map, currentTime, charCode, endsWith, exec, floor, mapDelete, mapGet, mapKeys, mapNext,
  mapSet, mapSize, max, min, numberToString, push, slice, toJson, typedLength } =
  require("intrinsics");
const { owner } = require("owner");

const PIECE = 131072; // characters: what is gathered at most
// ms: slow writers are seen at once. One that goes on printing is seen less and less often, as a
// front end draws its whole growing text anew for each piece.
const SHORTEST_INTERVAL = 20;
const LONGEST_INTERVAL = 200;
const GROWTH = 1.25;
const PAUSE = 1000; // ms without output after which the next is seen at once again
const OWNERS_KEPT = 1000; // executions whose amount of output is remembered

const SHORTEST_WITH_TAIL = 10000; // bytes of output, as all amounts of it
const LONGEST_TAIL = 65536;
const NOT_ASCII = /[^\0-\x7f]/;
const TAIL_PIECES = 10000;

let limit = Infinity;
let setting = "";
let tailMax = 0;
let pending = "";
let pendingStream = "stdout";
let pendingOwner = 0;
let lastWrite = 0;
let interval = SHORTEST_INTERVAL;

// How much each execution has printed. The current one's amount is in plain variables.
const amounts = new Map();
let countedOwner = 0;
let amount = 0;
// The end of what the execution prints whose output was cut last.
let tail = [];
let tailOwner = -1;
let tailSize = 0;
let dropped = 0;

/**
 * @param {number | undefined} max bytes of stream text that one execution may print
 * @param {string} name how the user sets that
 */
exports.setLimit = (max, name) => {
  if (!(max > 0)) return;
  limit = max;
  setting = name;
  // Of outputs that are so short no tail is kept.
  tailMax = limit < SHORTEST_WITH_TAIL ? 0 : min(floor(limit / 8), LONGEST_TAIL);
};

/** How many characters a piece of an execution's output may have at all. */
exports.limit = () => limit;

/** How the user sets that. */
exports.setting = () => setting;

/** How many bytes of UTF-8 a unit of UTF-16 takes; half of a surrogate pair takes two. */
function unitBytes(unit) {
  if (unit < 0x80) return 1;
  return unit < 0x800 || (unit & 0xf800) === 0xd800 ? 2 : 3;
}

/** How many bytes text takes as UTF-8. */
function byteLength(text) {
  if (exec(NOT_ASCII, text) === null) return text.length;
  let bytes = 0;
  for (let i = 0; i < text.length; i++) bytes += unitBytes(charCode(text, i));
  return bytes;
}

/** How many units of a text are within so many bytes, none of them half of a character. */
function unitsWithin(text, bytes) {
  let end = 0;
  for (let left = bytes; end < text.length; end++) {
    left -= unitBytes(charCode(text, end));
    if (left < 0) break;
  }
  return end > 0 && (charCode(text, end - 1) & 0xfc00) === 0xd800 ? end - 1 : end;
}

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

/**
 * Prints what fits into the head. The rest is kept up to its last part, which is printed when the
 * execution ends; what lies between is counted.
 */
function cut(stream, text, id, before) {
  const most = tailMax;
  const head = limit - most;
  let rest = "";
  if (before <= head) {
    const end = unitsWithin(text, head - before);
    rest = slice(text, 0, end);
    if (rest !== "") append(stream, rest, id);
    if (most > 0) {
      tailOwner = id;
      tail = [];
      tailSize = dropped = 0;
      keep(stream, slice(text, end), most);
      host.outputCut(id);
    }
  } else if (most > 0) {
    keep(stream, text, most);
  }
  if (before > limit || amount <= limit) return;
  const notice =
    `[output cut after ${head} bytes; raise ${setting} to see more]\n`;
  append("stderr", rest === "" || endsWith(rest, "\n") ? notice : `\n${notice}`, id);
}

/** Keeps text as the end of what an execution prints, as long as nothing comes after it. */
function keep(stream, text, most) {
  if (owner() !== tailOwner) return;
  const size = byteLength(text);
  push(tail, { __proto__: null, stream, text, size });
  tailSize += size;
  if (tailSize >= 2 * most || tail.length >= TAIL_PIECES) shorten(most);
}

/** Drops what is before the last so many bytes of the tail. */
function shorten(most) {
  const before = tail;
  let first = before.length;
  let kept = 0;
  while (first > 0 && kept < most) kept += before[--first].size;
  tail = [];
  for (let i = first; i < before.length; i++) {
    let piece = before[i];
    if (i === first && kept > most) {
      let from = unitsWithin(piece.text, kept - most);
      // What is cut is no smaller than what is too much, and ends with a whole character.
      if (byteLength(slice(piece.text, 0, from)) < kept - most) {
        from += (charCode(piece.text, from) & 0xfc00) === 0xd800 ? 2 : 1;
      }
      const text = slice(piece.text, from);
      const size = byteLength(text);
      kept -= piece.size - size;
      piece = { __proto__: null, stream: piece.stream, text, size };
    }
    push(tail, piece);
  }
  dropped += tailSize - kept;
  tailSize = kept;
}

/**
 * Prints the end of what an execution has printed, if its output was cut.
 * @param {number} id the execution, which has ended
 */
function endOutput(id) {
  if (id !== tailOwner) return;
  shorten(tailMax);
  const pieces = tail;
  if (dropped > 0) append("stderr", `[${dropped} bytes left out]\n`, id);
  for (let i = 0; i < pieces.length; i++) append(pieces[i].stream, pieces[i].text, id);
  tail = [];
  tailOwner = -1;
  flush();
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
  amount = before + byteLength(text);
  if (amount > limit - tailMax) cut(stream, text, id, before);
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
  const length = typedLength(bytes);
  let id = "";
  for (let i = 0; i < length; i++) id += slice(numberToString(bytes[i] + 256, 16), 1);
  return id;
}

exports.flush = flush;
exports.endOutput = endOutput;
exports.tick = tick;
exports.write = write;
exports.emit = emit;
exports.newId = newId;

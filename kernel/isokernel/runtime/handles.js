"use strict";
// Sending what is shown, and the handles by which it can be shown anew.

const { Map, mapDelete, mapGet, mapKeys, mapNext, mapSet, mapSize, push, then, toText } =
  require("intrinsics");
const { owner } = require("owner");
const { emit, newId } = require("output");
const { bundle, isPromise, represent } = require("mime");

// Displays that wait for a promise, by execution: a cell isn't over before they are shown.
const waiting = new Map();
const OWNERS_KEPT = 100;
const NO_OPTIONS = { __proto__: null };

function remember(promise) {
  const id = owner();
  const list = mapGet(waiting, id) ?? [];
  push(list, promise);
  mapSet(waiting, id, list);
  // Lists of executions that failed, or of timers, are never taken.
  if (mapSize(waiting) > OWNERS_KEPT) mapDelete(waiting, mapNext(mapKeys(waiting)).value);
}

/**
 * Takes the current execution's displays that are not shown yet.
 * @returns {Promise<void>[]}
 */
exports.takeWaiting = function takeWaiting() {
  const id = owner();
  const list = mapGet(waiting, id) ?? [];
  mapDelete(waiting, id);
  return list;
};

/** What display() returns: it can show another value in the same place. */
class DisplayHandle {
  id; // defined, as an assignment would find what user code has put onto all objects
  #ready;

  constructor(id, ready) {
    this.id = id;
    this.#ready = ready;
  }

  /** A promise for a display that takes time, such as one with an async method; else undefined. */
  get ready() {
    return this.#ready;
  }

  /**
   * Shows another value in the same place.
   * @param {unknown} value
   * @param {{raw?: boolean, metadata?: object}} [options]
   * @returns {DisplayHandle}
   */
  update(value, options) {
    return showValue(value, { ...options, update: this.id });
  }

  static isHandle(value) {
    return typeof value === "object" && value !== null && #ready in value;
  }
}

/**
 * Shows a bundle, or the one that a promise is for.
 * @param {object | Promise<object>} shown from represent() or bundle()
 * @param {{id?: string, update?: string, metadata?: object}} [options]
 * @returns {DisplayHandle}
 */
function showBundle(shown, { id, update, metadata } = NO_OPTIONS) {
  const kind = update === undefined ? "display_data" : "update_display_data";
  const place = toText(update ?? id ?? newId());
  const send = (done) =>
    emit(kind, {
      data: done.data,
      metadata: { ...done.metadata, ...metadata },
      transient: { display_id: place },
    });
  if (!isPromise(shown)) {
    send(shown);
    return new DisplayHandle(place, undefined);
  }
  const ready = then(shown, send);
  remember(ready);
  return new DisplayHandle(place, ready);
}

/**
 * Shows a value.
 * @param {unknown} value
 * @param {object} [options] raw: the value is a MIME bundle; update: the id of what to replace;
 *   id: the id to give to what is shown; metadata
 * @returns {DisplayHandle}
 */
function showValue(value, options = NO_OPTIONS) {
  return showBundle(options.raw ? bundle(value, undefined) : represent(value), options);
}

exports.isHandle = DisplayHandle.isHandle;
exports.showBundle = showBundle;
exports.showValue = showValue;

"use strict";
// Comms: Jupyter's two-way channels between a cell and the front end (widgets use them).

const { Error, Map, TypeError, apply, arrayFrom, bytesUnder, create, isArray, keys, mapDelete,
  mapForEach, mapGet, mapSet, parse, push, toJson, toText } = require("intrinsics");
const { emit, newId } = require("output");
const { report } = require("errors");

const targets = new Map();
const open = new Map();
const NO_OPTIONS = { __proto__: null };
const OPENING = {}; // given to the constructor for a comm that the front end has opened

const OPTIONS = { __proto__: null, data: 1, metadata: 1, buffers: 1, id: 1 };

/** Data given in place of the options would be lost without a word. */
function checkOptions(options) {
  const names = keys(options);
  for (let i = 0; i < names.length; i++) {
    if (!(names[i] in OPTIONS)) {
      throw new TypeError(`new Jupyter.Comm(target, {data, metadata, buffers, id}): ` +
        `there is no option ${names[i]}`);
    }
  }
}

/** One channel. `onMsg` and `onClose` are the user's functions, called with the message. */
class Comm {
  #id;
  #target;
  onMsg = undefined;
  onClose = undefined;

  /**
   * Opens a channel to what the front end has registered under a name.
   * @param {string} targetName
   * @param {{data?: object, metadata?: object, buffers?: Uint8Array[], id?: string}} [options]
   */
  constructor(targetName, options = NO_OPTIONS, origin = undefined) {
    if (origin !== OPENING) checkOptions(options);
    this.#id = toText(options.id ?? newId());
    this.#target = toText(targetName);
    mapSet(open, this.#id, this);
    if (origin !== OPENING) this.#emit("comm_open", options.data, options);
  }

  get commId() {
    return this.#id;
  }

  get targetName() {
    return this.#target;
  }

  get isDisposed() {
    return mapGet(open, this.#id) !== this;
  }

  #emit(kind, data = {}, { metadata = {}, buffers } = NO_OPTIONS) {
    const content = { comm_id: this.#id, data, metadata };
    if (kind === "comm_open") content.target_name = this.#target;
    emit(kind, content, buffers === undefined ? undefined : bytes(buffers));
  }

  /**
   * Sends a message.
   * @param {object} [data]
   * @param {{metadata?: object, buffers?: (Uint8Array | ArrayBuffer)[]}} [options]
   */
  send(data, options) {
    if (this.isDisposed) throw new Error(`The comm ${this.#id} is closed`);
    this.#emit("comm_msg", data, options);
  }

  /**
   * Closes the channel; a second time does nothing.
   * @param {object} [data]
   * @param {{metadata?: object, buffers?: Uint8Array[]}} [options]
   */
  close(data, options) {
    if (this.isDisposed) return;
    mapDelete(open, this.#id);
    this.#emit("comm_close", data, options);
  }
}

/** A list of bytes; what is no array, such as a set, is gone through as its class says. */
function bytes(buffers) {
  const list = isArray(buffers) ? buffers : arrayFrom(buffers);
  const found = [];
  for (let i = 0; i < list.length; i++) push(found, bytesUnder(list[i]));
  return found;
}

/**
 * Says what happens when the front end opens a comm of this name.
 * @param {string} name
 * @param {(comm: Comm, message: object) => void} callback
 */
function registerTarget(name, callback) {
  if (typeof callback !== "function") {
    throw new TypeError("Jupyter.comms.registerTarget: the callback must be a function");
  }
  mapSet(targets, toText(name), callback);
}

/** @param {string} name */
function unregisterTarget(name) {
  mapDelete(targets, toText(name));
}

/** Calls one of the user's functions; tells whether it came to its end. */
function call(callback, ...values) {
  if (typeof callback !== "function") return true;
  try {
    apply(callback, undefined, values);
    return true;
  } catch (error) {
    report(error, "error");
    return false;
  }
}

function accept(id, message) {
  const callback = mapGet(targets, message.content.target_name);
  if (callback === undefined) return false;
  const comm = new Comm(message.content.target_name, { id }, OPENING);
  if (call(callback, comm, message)) return true;
  mapDelete(open, id);
  return false;
}

/**
 * Takes a message of the front end's.
 * @param {"comm_open" | "comm_msg" | "comm_close"} kind
 * @param {string} json comm_id, data, metadata and, to open, target_name
 * @param {Uint8Array[]} [buffers]
 * @returns {boolean} false when nobody here wants it: no such target, no such comm
 */
exports.receive = function receive(kind, json, buffers = []) {
  const { metadata = {}, ...content } = parse(json);
  const message = { content, data: content.data, metadata, buffers };
  const id = content.comm_id;
  if (kind === "comm_open") return accept(id, message);
  const comm = mapGet(open, id);
  if (comm === undefined) return false;
  if (kind === "comm_close") mapDelete(open, id);
  call(kind === "comm_close" ? comm.onClose : comm.onMsg, message);
  return true;
};

/** @returns {string} JSON: the open comms, id to target name */
exports.list = function list() {
  const names = create(null);
  mapForEach(open, (comm, id) => {
    names[id] = comm.targetName;
  });
  return toJson(names);
};

exports.Comm = Comm;
exports.registerTarget = registerTarget;
exports.unregisterTarget = unregisterTarget;

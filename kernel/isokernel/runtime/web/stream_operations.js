"use strict";
// What the platform itself does with streams: the methods of the classes as they are when these
// are loaded, since code may change them. The package keeps a stream's state in properties.
const { getDescriptor, getPrototype, uncurry } = require("intrinsics");
const streams = require("vendor/streams");

const {
  ReadableByteStreamController: ByteController, ReadableStream,
  ReadableStreamBYOBRequest: ByobRequest, ReadableStreamDefaultController: Controller,
  ReadableStreamDefaultReader: Reader,
  readWith,
} = streams;
const { Promise } = globalThis;
const NO_BUFFER = { __proto__: null, highWaterMark: 0 };

const isLocked = uncurry(getDescriptor(ReadableStream.prototype, "locked").get);
const byobRequest = uncurry(getDescriptor(ByteController.prototype, "byobRequest").get);
const respond = uncurry(ByobRequest.prototype.respond);
const closeBytes = uncurry(ByteController.prototype.close);

/** Whether a value is a stream to read from. */
function isStream(value) {
  try {
    isLocked(value);
    return true;
  } catch {
    return false;
  }
}

/**
 * A stream of bytes that asks for a chunk only when somebody reads.
 *
 * @param {(controller: object) => Promise<void> | void} pull
 * @param {(reason: unknown) => Promise<void> | void} [cancel]
 * @returns {{stream: object, controller: object}}
 */
function byteStream(pull, cancel) {
  let controller;
  const source = {
    __proto__: null, type: "bytes", pull, cancel,
    start(given) {
      controller = given;
    },
  };
  const stream = new ReadableStream(source, NO_BUFFER);
  return { __proto__: null, stream, controller };
}

/** A stream of any chunks, likewise. */
const anyStream = (pull, cancel) =>
  new ReadableStream({ __proto__: null, pull, cancel }, NO_BUFFER);

/**
 * The next chunk of a stream: {done, value}. The package's own method makes a plain object of it,
 * whose promise would ask it for a `then`.
 */
function read(reader) {
  return new Promise((resolve, reject) => {
    readWith(reader, {
      __proto__: null,
      _chunkSteps: (value) => resolve({ __proto__: null, done: false, value }),
      _closeSteps: () => resolve({ __proto__: null, done: true, value: undefined }),
      _errorSteps: reject,
    });
  });
}

/** Ends a stream of bytes, and whoever waits for bytes in a buffer of their own. */
function endBytes(controller) {
  closeBytes(controller);
  const waiting = byobRequest(controller);
  if (waiting !== null) respond(waiting, 0);
}

module.exports = {
  anyStream,
  byteStream,
  // As if somebody had read from it, while it is read by the platform.
  disturb: (stream) => {
    stream._disturbed = true;
  },
  cancelReader: uncurry(Reader.prototype.cancel),
  cancelStream: uncurry(ReadableStream.prototype.cancel),
  close: uncurry(Controller.prototype.close),
  endBytes,
  enqueue: uncurry(Controller.prototype.enqueue),
  enqueueBytes: uncurry(ByteController.prototype.enqueue),
  errorBytes: uncurry(ByteController.prototype.error),
  getReader: uncurry(ReadableStream.prototype.getReader),
  isByteStream: (stream) => 
    getPrototype(stream._readableStreamController) === ByteController.prototype,
  isDisturbed: (stream) => stream._disturbed === true,
  isLocked,
  isOpen: (stream) => stream._state === "readable",
  isStream,
  read,
  tee: uncurry(ReadableStream.prototype.tee),
};

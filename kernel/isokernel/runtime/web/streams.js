"use strict";
const { cloners, defineInspect } = require("web/idl");
const streams = require("vendor/streams");

// The package keeps its state in properties that begin with an underscore; they are not shown.
const SHOWN = {
  ReadableStream: ["locked"],
  WritableStream: ["locked"],
  TransformStream: ["readable", "writable"],
  ByteLengthQueuingStrategy: ["highWaterMark"],
  CountQueuingStrategy: ["highWaterMark"],
  ReadableByteStreamController: ["desiredSize"],
  ReadableStreamBYOBReader: [],
  ReadableStreamBYOBRequest: ["view"],
  ReadableStreamDefaultController: ["desiredSize"],
  ReadableStreamDefaultReader: [],
  TransformStreamDefaultController: ["desiredSize"],
  WritableStreamDefaultController: [],
  WritableStreamDefaultWriter: [],
};

for (const [name, shown] of Object.entries(SHOWN)) {
  defineInspect(streams[name], shown);
  cloners.set(streams[name], null);
}

// Where the package is behind the standard: a string is no iterable of chunks, and iterators
// have the language's own prototype above theirs.
const { from } = streams.ReadableStream;
Object.defineProperty(streams.ReadableStream, "from", {
  value: {
    from(iterable) {
      if (typeof iterable !== "object" && typeof iterable !== "function") {
        throw new TypeError("ReadableStream.from: the value is not an object");
      }
      return Reflect.apply(from, streams.ReadableStream, [iterable]);
    },
  }.from,
  writable: true,
  enumerable: true,
  configurable: true,
});
const AsyncIterator = Object.getPrototypeOf(
  Object.getPrototypeOf(async function* () {}).prototype,
);
const iterator = Object.getPrototypeOf(new streams.ReadableStream().values());
if (Object.getPrototypeOf(iterator) !== AsyncIterator) {
  Object.setPrototypeOf(iterator, AsyncIterator);
}

require("web/stream_operations"); // before anybody can change the classes' methods

module.exports = streams;

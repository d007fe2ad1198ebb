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

module.exports = streams;

"use strict";
// node:stream/consumers and node:stream/web.

const { Buffer } = require("node/buffer");

async function bytesOf(stream) {
  const parts = [];
  for await (const part of stream) parts.push(typeof part === "string" ? Buffer.from(part) : part);
  return Buffer.concat(parts);
}

exports.consumers = {
  arrayBuffer: async (stream) => new Uint8Array(await bytesOf(stream)).buffer,
  blob: async (stream) => new Blob([await bytesOf(stream)]),
  buffer: bytesOf,
  json: async (stream) => JSON.parse((await bytesOf(stream)).toString()),
  text: async (stream) => (await bytesOf(stream)).toString(),
};

const names = ["ByteLengthQueuingStrategy", "CompressionStream", "CountQueuingStrategy",
  "DecompressionStream", "ReadableByteStreamController", "ReadableStream",
  "ReadableStreamBYOBReader", "ReadableStreamBYOBRequest", "ReadableStreamDefaultController",
  "ReadableStreamDefaultReader", "TextDecoderStream", "TextEncoderStream", "TransformStream",
  "TransformStreamDefaultController", "WritableStream", "WritableStreamDefaultController",
  "WritableStreamDefaultWriter"];
exports.web = Object.fromEntries(names.map((name) => [name, globalThis[name]]));

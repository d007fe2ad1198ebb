"use strict";
// node:string_decoder: the package's, for bytes of every kind.

const { string_decoder: library } = require("vendor/node/core");
const { Buffer } = require("node/buffer");

const bufferOf = (bytes) =>
  ArrayBuffer.isView(bytes) && !Buffer.isBuffer(bytes)
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : bytes;

class StringDecoder extends library.StringDecoder {
  constructor(encoding) {
    super(encoding);
    // The library puts methods for the encoding onto the decoder itself.
    for (const name of ["write", "end"]) {
      const method = this[name];
      this[name] = (bytes) => Reflect.apply(method, this, [bufferOf(bytes)]);
    }
  }
}

module.exports = { StringDecoder };

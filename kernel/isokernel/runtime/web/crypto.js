"use strict";
const { DOMException, QuotaExceededError } = require("web/exception");
const { PLATFORM, defineInterface, requireArguments, requirePlatform } = require("web/idl");

const QUOTA = 65536;
const INTEGER_ARRAYS = new Set([
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "BigInt64Array",
  "BigUint64Array",
]);

const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
).get;

// Nothing random is kept for later: a context that is forked or restored would give out the same
// bytes as its siblings.

class Crypto {
  #brand;

  constructor(token) {
    requirePlatform(token);
  }

  getRandomValues(array) {
    this.#brand; // throws for what is no Crypto
    requireArguments(arguments.length, 1, "getRandomValues");
    if (!ArrayBuffer.isView(array)) {
      throw new TypeError(
        "Failed to execute 'getRandomValues': parameter 1 is not of type 'ArrayBufferView'.",
      );
    }
    if (!INTEGER_ARRAYS.has(typedArrayName.call(array))) {
      throw new DOMException(
        "The provided ArrayBufferView is not an integer-type TypedArray.",
        "TypeMismatchError",
      );
    }
    const { buffer, byteOffset, byteLength } = array;
    if (byteLength > QUOTA) {
      throw new QuotaExceededError(
        `The ArrayBufferView's byte length (${byteLength}) exceeds the number of bytes of ` +
          `entropy available via this API (${QUOTA}).`,
        { quota: QUOTA, requested: byteLength },
      );
    }
    if (byteLength) new Uint8Array(buffer, byteOffset, byteLength).set(host.random(byteLength));
    return array;
  }

  randomUUID() {
    this.#brand;
    const bytes = host.random(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
    bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant 10
    const hex = bytes.toHex();
    return [
      hex.slice(0, 8),
      hex.slice(8, 12),
      hex.slice(12, 16),
      hex.slice(16, 20),
      hex.slice(20),
    ].join("-");
  }
}

defineInterface(Crypto, { show: [] });

module.exports = { Crypto, crypto: new Crypto(PLATFORM) };

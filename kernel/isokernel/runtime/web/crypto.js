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

const UNSUPPORTED = ["decrypt", "deriveBits", "deriveKey", "encrypt", "exportKey", "generateKey",
  "importKey", "sign", "unwrapKey", "verify", "wrapKey"];

// Nothing random is kept for later: a context that is forked or restored would give out the same
// bytes as its siblings.

const ALGORITHMS = { __proto__: null, "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384",
  "SHA-512": "sha512" };

/** Digests only: keys, signatures and ciphers are refused as a browser refuses an algorithm. */
class SubtleCrypto {
  #brand;

  constructor(token) {
    requirePlatform(token);
  }

  async digest(algorithm, data) {
    this.#brand; // throws for what is no SubtleCrypto
    requireArguments(arguments.length, 2, "digest");
    const name = typeof algorithm === "object" && algorithm !== null ? algorithm.name : algorithm;
    if (name === undefined) throw new TypeError("digest: the algorithm has no name.");
    const hash = ALGORITHMS[`${name}`.toUpperCase()];
    if (hash === undefined) {
      throw new DOMException(`Unrecognized algorithm name: ${name}`, "NotSupportedError");
    }
    const bytes = bytesOf(data);
    return require("vendor/hashes")[hash](bytes).buffer;
  }

  static {
    for (const name of UNSUPPORTED) {
      const method = {
        async [name]() {
          const message = `SubtleCrypto.${name} is not supported; digest is.`;
          throw new DOMException(message, "NotSupportedError");
        },
      };
      Object.defineProperty(SubtleCrypto.prototype, name, {
        value: method[name], writable: true, enumerable: true, configurable: true,
      });
    }
  }
}

function bytesOf(data) {
  if ((ArrayBuffer.isView(data) ? data.buffer : data)?.detached) return new Uint8Array(0);
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  }
  if (data instanceof ArrayBuffer) return new Uint8Array(data).slice();
  throw new TypeError("digest: the data is not an ArrayBuffer or a view of one.");
}

class CryptoKey {
  constructor(token) {
    requirePlatform(token);
  }
}

class Crypto {
  #brand;
  #subtle = new SubtleCrypto(PLATFORM);

  constructor(token) {
    requirePlatform(token);
  }

  get subtle() {
    return this.#subtle;
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

defineInterface(SubtleCrypto, { show: [] });
defineInterface(CryptoKey, { show: [] });
defineInterface(Crypto, { show: ["subtle"] });

module.exports = { Crypto, CryptoKey, SubtleCrypto, crypto: new Crypto(PLATFORM) };

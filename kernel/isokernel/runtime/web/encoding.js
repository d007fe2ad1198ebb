"use strict";
const { defineInterface, dictionary, requireArguments } = require("web/idl");
const codecs = require("vendor/encoding");

// The legacy multi-byte tables are larger than all the rest: loaded when a label asks for them.
codecs.setMultibyte(
  (...args) => require("vendor/encoding_multibyte").createMultibyteDecoder(...args),
  (...args) => require("vendor/encoding_multibyte").multibyteEncoder(...args),
);

const encoder = new codecs.TextEncoder();
const typedArrayName = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
).get;

// Thin classes around the package's, which keep their attributes as own properties.

class TextEncoder {
  #brand = "utf-8";

  get encoding() {
    return this.#brand;
  }

  encode(input = "") {
    this.#brand; // throws for what is no TextEncoder
    return encoder.encode(`${input}`);
  }

  encodeInto(source, destination) {
    this.#brand;
    requireArguments(arguments.length, 2, "encodeInto");
    const text = `${source}`;
    if (typedArrayName.call(destination) !== "Uint8Array") {
      throw new TypeError("Failed to execute 'encodeInto': parameter 2 is not a Uint8Array.");
    }
    return encodeInto(text, destination);
  }
}

function encodeInto(text, bytes) {
  let read = 0;
  let written = 0;
  while (read < text.length) {
    let point = text.codePointAt(read);
    const units = point > 0xffff ? 2 : 1;
    if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
    const size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (written + size > bytes.length) break;
    if (size === 1) {
      bytes[written] = point;
    } else {
      for (let i = size - 1; i > 0; i--) {
        bytes[written + i] = 0x80 | (point & 0x3f);
        point >>= 6;
      }
      bytes[written] = ((0xf00 >> size) & 0xff) | point;
    }
    read += units;
    written += size;
  }
  return { read, written };
}

class TextDecoder {
  #decoder;

  constructor(label = "utf-8", options = {}) {
    const { fatal, ignoreBOM } = dictionary(options, "TextDecoder");
    const name = `${label}`;
    try {
      this.#decoder = new codecs.TextDecoder(name, { fatal, ignoreBOM });
    } catch {
      throw new RangeError(`The encoding label provided ('${name}') is invalid.`);
    }
  }

  get encoding() {
    return this.#decoder.encoding;
  }

  get fatal() {
    return this.#decoder.fatal;
  }

  get ignoreBOM() {
    return this.#decoder.ignoreBOM;
  }

  decode(input, options = {}) {
    const { stream } = dictionary(options, "TextDecoder.decode");
    return this.#decoder.decode(input, { stream });
  }
}

defineInterface(TextEncoder, { show: ["encoding"] });
defineInterface(TextDecoder, { show: ["encoding", "fatal", "ignoreBOM"] });

module.exports = { TextDecoder, TextEncoder };

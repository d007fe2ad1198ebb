"use strict";
const { DOMException } = require("web/exception");
const { requireArguments } = require("web/idl");

const CHUNK = 8192; // arguments to one call of String.fromCharCode

function atob(data) {
  requireArguments(arguments.length, 1, "atob");
  const text = `${data}`;
  let bytes;
  try {
    // V8's decoder in its default mode is the forgiving one that the standard describes:
    // whitespace skipped, padding optional but whole, bits left over ignored.
    bytes = Uint8Array.fromBase64(text);
  } catch {
    throw new DOMException(
      "The string to be decoded is not correctly encoded.",
      "InvalidCharacterError",
    );
  }
  let result = "";
  for (let i = 0; i < bytes.length; i += CHUNK) {
    result += String.fromCharCode.apply(null, bytes.subarray(i, i + CHUNK));
  }
  return result;
}

function btoa(data) {
  requireArguments(arguments.length, 1, "btoa");
  const text = `${data}`;
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0xff) {
      throw new DOMException(
        "The string to be encoded contains characters outside of the Latin1 range.",
        "InvalidCharacterError",
      );
    }
    bytes[i] = unit;
  }
  return bytes.toBase64();
}

module.exports = { atob, btoa };

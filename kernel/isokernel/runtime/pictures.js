"use strict";
// Pictures and documents in binary data, told by their first bytes.

const { bytesUnder, isDetached, typedLength } = require("intrinsics");
const { typeOf } = host;

const SIGNATURES = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]], // GIF8
  ["application/pdf", [0x25, 0x50, 0x44, 0x46, 0x2d]], // %PDF-
];

/**
 * The bytes that a value holds, not copied.
 * @param {unknown} value
 * @returns {Uint8Array | undefined} undefined when it holds none
 */
exports.bytesOf = function bytesOf(value) {
  switch (typeOf(value)) {
    case "Uint8Array":
      return value;
    case "Uint8ClampedArray":
    case "DataView":
      return bytesUnder(value);
    case "ArrayBuffer":
      return isDetached(value) ? undefined : bytesUnder(value);
    default:
      return undefined;
  }
};

function startsWith(bytes, signature) {
  if (typedLength(bytes) < signature.length) return false;
  for (let i = 0; i < signature.length; i++) if (bytes[i] !== signature[i]) return false;
  return true;
}

/**
 * @param {Uint8Array} bytes
 * @returns {string | undefined} the MIME type of a picture or a document
 */
exports.sniff = function sniff(bytes) {
  for (let i = 0; i < SIGNATURES.length; i++) {
    if (startsWith(bytes, SIGNATURES[i][1])) return SIGNATURES[i][0];
  }
  return undefined;
};

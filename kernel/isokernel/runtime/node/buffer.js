"use strict";
// node:buffer: the package's Buffer, and what the web platform has of the module.

const { buffer } = require("vendor/node/core");

const { Buffer } = buffer;
const MAX_STRING = 536870888; // V8's

const text = new TextDecoder("utf-8", { fatal: true });

/** Whether bytes are text in UTF-8. */
function isUtf8(bytes) {
  try {
    text.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Whether bytes are text in ASCII. */
function isAscii(bytes) {
  for (const byte of new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset, bytes.byteLength)) {
    if (byte > 127) return false;
  }
  return true;
}

/** Bytes from one encoding to another. */
const transcode = (bytes, from, to) => Buffer.from(Buffer.from(bytes).toString(from), to);

module.exports = {
  ...buffer,
  Blob,
  Buffer,
  File,
  INSPECT_MAX_BYTES: 50,
  atob,
  btoa,
  constants: { MAX_LENGTH: buffer.kMaxLength, MAX_STRING_LENGTH: MAX_STRING },
  isAscii,
  isUtf8,
  kMaxLength: buffer.kMaxLength,
  kStringMaxLength: MAX_STRING,
  transcode,
};

"use strict";
// node:zlib: the package's, and the names of what it hasn't.

const { refusedClass, refusedFunction } = require("node/stubs");
const { default: library } = require("vendor/node/zlib");

const FUNCTIONS = ["brotliCompress", "brotliCompressSync", "brotliDecompress",
  "brotliDecompressSync", "createBrotliCompress", "createBrotliDecompress", "createZstdCompress",
  "createZstdDecompress", "zstdCompress", "zstdCompressSync", "zstdDecompress",
  "zstdDecompressSync"];
const CLASSES = ["BrotliCompress", "BrotliDecompress", "ZstdCompress", "ZstdDecompress"];

const table = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  let value = i;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  table[i] = value;
}

/** The checksum of gzip. */
function crc32(data, before = 0) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data)
    : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let value = ~before;
  for (let i = 0; i < bytes.length; i++) value = table[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

const numbers = Object.entries(library).filter(([name]) => name.startsWith("Z_"));

module.exports = { ...library, crc32, constants: {
  ...Object.fromEntries(numbers), BROTLI_OPERATION_FINISH: 2, BROTLI_OPERATION_FLUSH: 1,
  BROTLI_OPERATION_PROCESS: 0, BROTLI_PARAM_QUALITY: 1, BROTLI_PARAM_SIZE_HINT: 5,
} };
for (const name of FUNCTIONS) module.exports[name] = refusedFunction("zlib", name);
for (const name of CLASSES) module.exports[name] = refusedClass("zlib", name);

"use strict";
// A part of what is there, as the header Range asks for it.
const { exec } = require("intrinsics");
const { listOf } = require("web/headers");

const { TypeError } = globalThis;
const RANGE = /^bytes[\t ]*=[\t ]*(\d*)[\t ]*-[\t ]*(\d*)$/i;

function rangeOf(headers) {
  const list = listOf(headers);
  for (let i = 0; i < list.length; i++) if (list[i].key === "range") return list[i].value;
  return undefined;
}

/**
 * The response for bytes of a type.
 *
 * @param {Uint8Array} bytes
 * @param {string | null} type
 * @param {Headers} headers the request's
 */
function respond(bytes, type, headers) {
  const range = rangeOf(headers);
  const size = bytes.length;
  if (range === undefined) {
    return { __proto__: null, bytes, status: 200, headers: headersOf(size, type) };
  }
  const { first, last } = parseRange(range, size);
  const part = bytes.subarray(first, last + 1);
  return {
    __proto__: null, bytes: part, status: 206, statusText: "Partial Content",
    headers: headersOf(part.length, type, `bytes ${first}-${last}/${size}`),
  };
}

function headersOf(size, type, range) {
  const headers = [["Content-Length", `${size}`]];
  if (type !== null) headers[1] = ["Content-Type", type];
  if (range !== undefined) headers[headers.length] = ["Content-Range", range];
  return headers;
}

/** The first and the last byte that a range of a size names. */
function parseRange(text, size) {
  const found = exec(RANGE, text);
  const refuse = () => new TypeError(`fetch: the range '${text}' is not one of ${size} bytes`);
  if (found === null || (found[1] === "" && found[2] === "")) throw refuse();
  const from = found[1] === "" ? undefined : +found[1];
  const to = found[2] === "" ? undefined : +found[2];
  if (from === undefined) return { first: to > size ? 0 : size - to, last: size - 1 };
  if (from >= size || (to !== undefined && from > to)) throw refuse();
  return { first: from, last: to === undefined || to >= size ? size - 1 : to };
}

module.exports = { respond };

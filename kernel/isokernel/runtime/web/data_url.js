"use strict";
// data: URLs (https://fetch.spec.whatwg.org/#data-urls).
const { apply, charCode, exec, indexOf, slice } = require("intrinsics");
const { encode } = require("web/body");
const { parseType, serializeType } = require("web/mime_type");

const { Uint8Array } = globalThis;
const fromBase64 = Uint8Array.fromBase64;
const DEFAULT = "text/plain;charset=US-ASCII";
const BASE64 = /; *base64$/i;
const PERCENT = 0x25;

function digit(unit) {
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  const lower = unit | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function percentDecode(bytes) {
  const decoded = new Uint8Array(bytes.length);
  let size = 0;
  for (let i = 0; i < bytes.length; i++) {
    const high = bytes[i] === PERCENT ? digit(bytes[i + 1]) : -1;
    const low = high < 0 ? -1 : digit(bytes[i + 2]);
    if (low < 0) {
      decoded[size++] = bytes[i];
    } else {
      decoded[size++] = high * 16 + low;
      i += 2;
    }
  }
  return decoded.subarray(0, size);
}

function latin1(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += TEXTS[bytes[i]];
  return text;
}
const TEXTS = Array.from({ length: 256 }, (_, unit) => String.fromCharCode(unit));

/**
 * What a data: URL has.
 *
 * @param {string} href without its fragment
 * @returns {{type: string, bytes: Uint8Array} | null} null if it is none
 */
function readDataUrl(href) {
  const comma = indexOf(href, ",");
  if (comma < 0) return null;
  let type = trimSpaces(slice(href, "data:".length, comma));
  let bytes = percentDecode(encode(slice(href, comma + 1)));
  const marked = exec(BASE64, type);
  if (marked !== null) {
    type = trimSpaces(slice(type, 0, marked.index));
    try {
      bytes = apply(fromBase64, Uint8Array, [latin1(bytes)]);
    } catch {
      return null;
    }
  }
  if (type[0] === ";") type = `text/plain${type}`;
  const parsed = parseType(type);
  return { type: parsed === null ? DEFAULT : serializeType(parsed), bytes };
}

function trimSpaces(text) {
  let start = 0;
  let end = text.length;
  while (start < end && charCode(text, start) === 0x20) start++;
  while (end > start && charCode(text, end - 1) === 0x20) end--;
  return slice(text, start, end);
}

module.exports = { readDataUrl };

"use strict";
// Forms as bytes: multipart/form-data (RFC 7578, as the HTML standard encodes it).
const { charCode, exec, indexOf, numberToString, replace, slice, startsWith, toLowerCase } =
  require("intrinsics");
const { contentOf, fileOf, isBlob } = require("web/blob");

const { TypeError, Uint8Array } = globalThis;
const RANDOM_BYTES = 12;
const CR = 13;
const LF = 10;
const DASH = 45;
const codecs = () => require("vendor/encoding");
const encode = (text) => new (codecs().TextEncoder)().encode(text);
const decode = (bytes) => new (codecs().TextDecoder)("utf-8", { ignoreBOM: true }).decode(bytes);
const decodeName = (bytes) => new (codecs().TextDecoder)().decode(bytes);

const escapes = { __proto__: null, "\n": "%0A", "\r": "%0D", '"': "%22" };
const escapeName = (name) => replace(name, /[\n\r"]/g, (found) => escapes[found]);
const toLines = (text) => replace(text, /\r\n?|\n/g, "\r\n");

/**
 * A form's entries as bytes.
 *
 * @param {[string, string | File][]} entries
 * @returns {{boundary: string, bytes: Uint8Array}}
 */
function encodeForm(entries) {
  const digits = host.random(RANDOM_BYTES);
  let boundary = "----isokernel-";
  for (let i = 0; i < RANDOM_BYTES; i++) boundary += slice(numberToString(256 + digits[i], 16), 1);
  const parts = [];
  let size = 0;
  const add = (bytes) => {
    parts[parts.length] = bytes;
    size += bytes.length;
  };
  for (let i = 0; i < entries.length; i++) {
    const { 0: name, 1: value } = entries[i];
    let head = `--${boundary}\r\nContent-Disposition: form-data; ` +
      `name="${escapeName(toLines(name))}"`;
    if (isBlob(value)) {
      const { bytes, type, name: filename } = contentOf(value);
      head += `; filename="${escapeName(filename)}"\r\n` +
        `Content-Type: ${type === "" ? "application/octet-stream" : type}\r\n\r\n`;
      add(encode(head));
      add(bytes);
      add(encode("\r\n"));
    } else {
      add(encode(`${head}\r\n\r\n${toLines(value)}\r\n`));
    }
  }
  add(encode(`--${boundary}--\r\n`));
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < parts.length; i++) {
    bytes.set(parts[i], at);
    at += parts[i].length;
  }
  return { boundary, bytes };
}

const malformed = (what) => new TypeError(`formData: the body is no multipart/form-data: ${what}`);

function find(bytes, wanted, from) {
  const last = bytes.length - wanted.length;
  for (let at = bytes.indexOf(wanted[0], from); at >= 0 && at <= last;
    at = bytes.indexOf(wanted[0], at + 1)) {
    if (isAt(bytes, wanted, at)) return at;
  }
  return -1;
}

function isAt(bytes, wanted, at) {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

const isNewline = (bytes, at) => bytes[at] === CR && bytes[at + 1] === LF;

/**
 * The entries of a form that was sent.
 *
 * @param {Uint8Array} bytes
 * @param {string} boundary
 * @returns {[string, string | File][]}
 */
function decodeForm(bytes, boundary) {
  const mark = encode(`--${boundary}`);
  const end = encode(`\r\n--${boundary}`);
  const entries = [];
  let at = 0;
  while (isNewline(bytes, at)) at += 2;
  for (;;) {
    if (!isAt(bytes, mark, at)) throw malformed("a boundary is missing");
    at += mark.length;
    if (bytes[at] === DASH && bytes[at + 1] === DASH) {
      at += 2;
      if (isNewline(bytes, at)) at += 2;
      if (at !== bytes.length) throw malformed("something follows its end");
      return entries;
    }
    if (!isNewline(bytes, at)) throw malformed("a boundary is not alone on its line");
    const head = parseHead(bytes, at + 2);
    const close = find(bytes, end, head.at - 2);
    if (close < 0) throw malformed("it ends amid a part");
    entries[entries.length] = toEntry(head, bytes.subarray(head.at, close < head.at ? head.at : close));
    at = close + 2;
  }
}

function toEntry({ name, filename, type }, content) {
  if (filename === undefined) return [name, decode(content)];
  return [name, fileOf(new Uint8Array(content), type, filename)];
}

/** The headers of a part; `at` is where its content begins. */
function parseHead(bytes, from) {
  let at = from;
  let name;
  let filename;
  let type = "text/plain";
  for (;;) {
    if (isNewline(bytes, at)) {
      if (name === undefined) throw malformed("a part has no name");
      return { name, filename, type, at: at + 2 };
    }
    let stop = at;
    while (stop < bytes.length && !isNewline(bytes, stop)) stop++;
    if (stop >= bytes.length) throw malformed("it ends amid a part's headers");
    const line = decodeName(bytes.subarray(at, stop));
    at = stop + 2;
    const colon = indexOf(line, ":");
    if (colon <= 0) throw malformed("a part has a line that is no header");
    const header = toLowerCase(slice(line, 0, colon));
    const value = slice(line, skipBlanks(line, colon + 1));
    if (header === "content-disposition") {
      ({ name, filename } = parseDisposition(value));
    } else if (header === "content-type") {
      type = value;
    }
  }
}

function skipBlanks(text, from) {
  let at = from;
  while (charCode(text, at) === 0x20 || charCode(text, at) === 0x09) at++;
  return at;
}

function parseDisposition(value) {
  if (!startsWith(toLowerCase(value), "form-data")) throw malformed("a part is not form-data");
  const found = { __proto__: null, name: undefined, filename: undefined };
  let at = "form-data".length;
  while (at < value.length) {
    at = skipBlanks(value, at);
    if (value[at] !== ";") break;
    at = skipBlanks(value, at + 1);
    const equals = indexOf(value, "=", at);
    if (equals < 0) break;
    const key = toLowerCase(slice(value, at, equals));
    at = equals + 1;
    let stop;
    let content;
    if (value[at] === '"') {
      stop = indexOf(value, '"', at + 1);
      if (stop < 0) throw malformed("a name has no end");
      content = slice(value, at + 1, stop);
      stop++;
    } else {
      stop = indexOf(value, ";", at);
      if (stop < 0) stop = value.length;
      content = slice(value, at, stop);
    }
    if (key === "name" || key === "filename") found[key] = unescapeName(content);
    at = stop;
  }
  return found;
}

const originals = { __proto__: null, "%0A": "\n", "%0D": "\r", "%22": '"' };
const unescapeName = (text) =>
  exec(/%(?:0A|0D|22)/, text) === null
    ? text
    : replace(text, /%(?:0A|0D|22)/g, (found) => originals[found]);

module.exports = { decodeForm, encodeForm };

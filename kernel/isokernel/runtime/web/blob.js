"use strict";
// Our own: the packages load Node.js's modules or keep many parts. A blob here is its bytes; what
// is sliced off shares them.
const { TextDecoder, TextEncoder } = require("web/encoding");
const { PLATFORM, defineInterface, dictionary, requireArguments, toSequence, usvString } =
  require("web/idl");

const CHUNK = 65536; // bytes in one read of a stream
const encoder = new TextEncoder();

/** The parts of a blob-to-be as strings, buffers and views; only the class can look into blobs. */
let toParts;
/** Put bytes, without copying them, and a type into a new blob. */
let fill;
/** Put the bytes and the type of a blob into a new one. */
let fillFrom;
let isBlob;
/** What a blob is made of, not copied: {bytes, type}, and a file's `name`. */
let contentOf;
/** A blob as a File with a name; a file that is given none is itself. */
let asFile;
let cloneFile;
/** A file's name; undefined for any other blob. */
let nameOf;

class Blob {
  #bytes;
  #type;

  constructor(parts = undefined, options = undefined) {
    if (parts === PLATFORM) return; // whose bytes and type are put in afterwards
    // In the order of Web IDL: the parts, then each option.
    const list = parts === undefined ? [] : toParts(parts);
    const bag = dictionary(options, "Blob");
    const { endings = "transparent" } = bag;
    const kind = `${endings}`;
    if (kind !== "transparent" && kind !== "native") {
      throw new TypeError(`Blob: '${kind}' is not a valid value for 'endings'.`);
    }
    const { type = "" } = bag;
    this.#type = toType(type);
    this.#bytes = concatenate(list, kind === "native");
  }

  get size() {
    return this.#bytes.length;
  }

  get type() {
    return this.#type;
  }

  slice(start = 0, end = this.#bytes.length, type = "") {
    const size = this.#bytes.length;
    const from = toPosition(start, size);
    const to = Math.max(toPosition(end, size), from);
    return fill(new Blob(PLATFORM), this.#bytes.subarray(from, to), toType(type));
  }

  async text() {
    return new TextDecoder().decode(this.#bytes);
  }

  textStream() {
    const { TextDecoderStream } = require("web/encoding_streams");
    return this.stream().pipeThrough(new TextDecoderStream());
  }

  async arrayBuffer() {
    return this.#bytes.slice().buffer;
  }

  async bytes() {
    return this.#bytes.slice();
  }

  stream() {
    const bytes = this.#bytes;
    const { ReadableStream } = require("web/streams");
    let position = 0;
    return new ReadableStream({
      type: "bytes",
      pull(controller) {
        if (position < bytes.length) {
          controller.enqueue(bytes.slice(position, position + CHUNK));
          position += CHUNK;
        }
        if (position >= bytes.length) {
          controller.close();
          controller.byobRequest?.respond(0);
        }
      },
    });
  }

  static {
    fill = (blob, bytes, type) => {
      blob.#bytes = bytes;
      blob.#type = type;
      return blob;
    };
    isBlob = (value) => typeof value === "object" && value !== null && #bytes in value;
    contentOf = (blob) =>
      ({ __proto__: null, bytes: blob.#bytes, type: blob.#type, name: nameOf(blob) });
    fillFrom = (blob, other) => fill(blob, other.#bytes, other.#type);
    toParts = (parts) => {
      if ((typeof parts !== "object" && typeof parts !== "function") || parts === null) {
        throw new TypeError("Blob: the provided value cannot be converted to a sequence.");
      }
      return toSequence(parts, parts[Symbol.iterator], "Blob", (part) => {
        if (typeof part !== "object" || part === null) return usvString(part);
        if (#bytes in part) return part.#bytes;
        return ArrayBuffer.isView(part) || part instanceof ArrayBuffer ? part : usvString(part);
      });
    };
  }
}

/** A blob of bytes, which are not copied; its type is taken as it is. */
const blobOf = (bytes, type) => fill(new Blob(PLATFORM), bytes, type);

/** A file of bytes, likewise. */
const fileOf = (bytes, type, name) => fill(new File(PLATFORM, name), bytes, type);

/** The bytes of a part, which may be a buffer that was detached since. */
function bytesOf(part, native) {
  if (typeof part === "string") {
    return encoder.encode(native ? part.replace(/\r\n?|\n/g, "\n") : part);
  }
  const isView = ArrayBuffer.isView(part);
  if ((isView ? part.buffer : part).detached) return new Uint8Array(0);
  return isView
    ? new Uint8Array(part.buffer, part.byteOffset, part.byteLength)
    : new Uint8Array(part);
}

function concatenate(parts, native) {
  let size = 0;
  for (let i = 0; i < parts.length; i++) {
    parts[i] = bytesOf(parts[i], native);
    size += parts[i].length;
  }
  const bytes = new Uint8Array(size);
  let position = 0;
  for (let i = 0; i < parts.length; i++) {
    bytes.set(parts[i], position);
    position += parts[i].length;
  }
  return bytes;
}

function toType(type) {
  const text = `${type}`;
  return /^[\x20-\x7E]*$/.test(text) ? text.toLowerCase() : "";
}

function toPosition(value, size) {
  const number = Number(value) || 0;
  // Web IDL's [Clamp]: to the nearest whole number, halves to the even one.
  const floor = Math.floor(number);
  const half = number - floor === 0.5;
  const position = half ? floor + (floor % 2 === 0 ? 0 : 1) : Math.round(number);
  return position < 0 ? Math.max(size + position, 0) : Math.min(position, size);
}

class File extends Blob {
  #name;
  #lastModified;

  constructor(parts, name, options) {
    requireArguments(arguments.length, 2, "File");
    super(parts ?? null, options); // where a blob has no parts, a file has forgotten them
    this.#name = usvString(name);
    const { lastModified } = dictionary(options, "File");
    this.#lastModified = lastModified === undefined ? Date.now() : Math.trunc(lastModified) || 0;
  }

  get name() {
    return this.#name;
  }

  get lastModified() {
    return this.#lastModified;
  }

  static {
    const copyOf = (blob, name, lastModified) =>
      fillFrom(new File(PLATFORM, name, { __proto__: null, lastModified }), blob);
    nameOf = (blob) => (#name in blob ? blob.#name : undefined);
    cloneFile = (file) => copyOf(file, file.#name, file.#lastModified);
    asFile = (blob, name) => {
      if (!(#name in blob)) return copyOf(blob, name ?? "blob", undefined);
      return name === undefined ? blob : copyOf(blob, name, blob.#lastModified);
    };
  }
}

defineInterface(Blob, {
  show: ["size", "type"],
  clone: (blob) => fillFrom(new Blob(PLATFORM), blob),
});
defineInterface(File, {
  show: ["size", "type", "name", "lastModified"],
  clone: cloneFile,
});

module.exports = { Blob, File, asFile, blobOf, contentOf, fileOf, isBlob };

"use strict";
// Our own: the packages load Node.js's modules or keep many parts. A blob here is its bytes; what
// is sliced off shares them.
const { TextDecoder, TextEncoder } = require("web/encoding");
const { defineInterface, dictionary, requireArguments } = require("web/idl");

const CHUNK = 65536; // bytes in one read of a stream
const encoder = new TextEncoder();

/** Turn the parts of a blob-to-be into bytes; only the class itself can look into blobs. */
let toChunks;
/** Make a blob around bytes without copying them. */
let wrap;

class Blob {
  #bytes;
  #type;

  constructor(parts = [], options = {}) {
    const { endings = "transparent", type = "" } = dictionary(options, "Blob");
    if (endings !== "transparent" && endings !== "native") {
      throw new TypeError(`Blob: '${endings}' is not a valid value for 'endings'.`);
    }
    this.#bytes = concatenate(toChunks(parts, endings === "native"));
    this.#type = toType(type);
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
    return wrap(this.#bytes.subarray(from, to), toType(type));
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
    wrap = (bytes, type) => {
      const blob = new Blob();
      blob.#bytes = bytes;
      blob.#type = type;
      return blob;
    };
    toChunks = (parts, native) => {
      if ((typeof parts !== "object" && typeof parts !== "function") || parts === null) {
        throw new TypeError("Blob: the provided value cannot be converted to a sequence.");
      }
      if (typeof parts[Symbol.iterator] !== "function") {
        throw new TypeError("Blob: the object must have a callable @@iterator property.");
      }
      return Array.from(parts, (part) => {
        if (typeof part === "object" && part !== null) {
          if (#bytes in part) return part.#bytes;
          if (ArrayBuffer.isView(part)) {
            // A detached buffer has no bytes, and its views no length.
            if (part.buffer.detached) return new Uint8Array(0);
            return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
          }
          if (part instanceof ArrayBuffer) {
            return part.detached ? new Uint8Array(0) : new Uint8Array(part);
          }
        }
        const text = `${part}`;
        return encoder.encode(native ? text.replace(/\r\n?|\n/g, "\n") : text);
      });
    };
  }
}

function concatenate(chunks) {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let position = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, position);
    position += chunk.length;
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
    super(parts, options);
    const { lastModified } = dictionary(options, "File");
    this.#name = `${name}`.toWellFormed();
    this.#lastModified = lastModified === undefined ? Date.now() : Math.trunc(lastModified) || 0;
  }

  get name() {
    return this.#name;
  }

  get lastModified() {
    return this.#lastModified;
  }
}

defineInterface(Blob, {
  show: ["size", "type"],
  clone: (blob) => blob.slice(0, blob.size, blob.type),
});
defineInterface(File, {
  show: ["size", "type", "name", "lastModified"],
  clone: (file) => new File([file], file.name, file),
});

module.exports = { Blob, File };

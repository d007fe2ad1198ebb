"use strict";
// CompressionStream and DecompressionStream (https://compression.spec.whatwg.org/) on zlib in
// JavaScript (pako), so that a stream in the midst of its data is saved with the heap; for brotli
// there is no such library.
const { defineInterface, requireArguments } = require("web/idl");
const { TransformStream } = require("web/streams");
const zlib = require("vendor/compression");

// zlib's window of 2^15 bytes; its sign and size say what surrounds the data.
const WINDOW_BITS = { __proto__: null, deflate: 15, "deflate-raw": -15, gzip: 31 };
const BROTLI = "brotli";
const LEVEL = -1; // zlib's own choice
const DEFLATED = 8;
const MEMORY_LEVEL = 8;
const OUTPUT = 65536; // bytes that are made at a time
const NOTHING = new Uint8Array(0);
const Z_BUF_ERROR = -5;

function toFormat(format, what) {
  const name = `${format}`;
  if (name !== BROTLI && !(name in WINDOW_BITS)) {
    throw new TypeError(`Failed to construct '${what}': unsupported format '${name}'`);
  }
  return name;
}

/** The bytes of a chunk: a copy, as its buffer may be detached while it is read. */
function bytesOf(chunk) {
  const view = ArrayBuffer.isView(chunk);
  const buffer = view ? chunk.buffer : chunk;
  if (!(buffer instanceof ArrayBuffer)) {
    throw new TypeError("The chunk is not an ArrayBuffer or a view of one.");
  }
  return view
    ? new Uint8Array(buffer, chunk.byteOffset, chunk.byteLength).slice()
    : new Uint8Array(buffer).slice();
}

/**
 * Run zlib over all of the input, and enqueue what comes out.
 *
 * @param {Function} step zlibDeflate or zlibInflate
 * @param {object} state zlib's stream
 * @param {Uint8Array} input
 * @param {number} flush
 * @param {object} controller
 * @returns {number} zlib's last status
 */
function pump(step, state, input, flush, controller) {
  state.input = input;
  state.next_in = 0;
  state.avail_in = input.length;
  for (;;) {
    state.output = new Uint8Array(OUTPUT);
    state.next_out = 0;
    state.avail_out = OUTPUT;
    const status = step(state, flush);
    if (state.next_out > 0) controller.enqueue(state.output.slice(0, state.next_out));
    if (status === zlib.Z_STREAM_END) return status;
    // Z_BUF_ERROR says that there was nothing to do, which is no error here.
    if (status !== zlib.Z_OK) return status;
    if (state.avail_out > 0 && state.avail_in === 0) return status;
  }
}

/** zlib, compressing. */
class Deflater {
  #state = new zlib.ZStream();

  constructor(bits) {
    const strategy = zlib.Z_DEFAULT_STRATEGY;
    zlib.zlibDeflateInit2(this.#state, LEVEL, DEFLATED, bits, MEMORY_LEVEL, strategy);
  }

  transform(chunk, controller) {
    pump(zlib.zlibDeflate, this.#state, chunk, zlib.Z_NO_FLUSH, controller);
  }

  flush(controller) {
    pump(zlib.zlibDeflate, this.#state, NOTHING, zlib.Z_FINISH, controller);
  }
}

/** zlib, decompressing. */
class Inflater {
  #state = new zlib.ZStream();
  #ended = false;

  constructor(bits) {
    zlib.zlibInflateInit2(this.#state, bits);
  }

  transform(chunk, controller) {
    if (this.#ended && chunk.length > 0) throw new TypeError("There is data after the end.");
    if (this.#ended) return;
    const state = this.#state;
    const status = pump(zlib.zlibInflate, state, chunk, zlib.Z_NO_FLUSH, controller);
    this.#ended = status === zlib.Z_STREAM_END;
    if (!this.#ended && status !== zlib.Z_OK && status !== Z_BUF_ERROR) {
      throw new TypeError(`The compressed data was not valid: ${state.msg || "not complete"}.`);
    }
    if (this.#ended && state.avail_in > 0) throw new TypeError("There is data after the end.");
  }

  flush(controller) {
    this.transform(NOTHING, controller);
    if (!this.#ended) throw new TypeError("The compressed data ends too early.");
  }
}

/** The streams around a codec, which takes chunks of bytes. */
function transformOf(codec) {
  return new TransformStream({
    transform: (chunk, controller) => codec.transform(bytesOf(chunk), controller),
    flush: (controller) => codec.flush(controller),
  });
}

class CompressionStream {
  #transform;

  constructor(format) {
    requireArguments(arguments.length, 1, "CompressionStream");
    const name = toFormat(format, "CompressionStream");
    this.#transform = transformOf(
      name === BROTLI ? new (require("web/brotli").Encoder)() : new Deflater(WINDOW_BITS[name]),
    );
  }

  get readable() {
    return this.#transform.readable;
  }

  get writable() {
    return this.#transform.writable;
  }
}

class DecompressionStream {
  #transform;

  constructor(format) {
    requireArguments(arguments.length, 1, "DecompressionStream");
    const name = toFormat(format, "DecompressionStream");
    this.#transform = transformOf(
      name === BROTLI ? new (require("web/brotli").Decoder)() : new Inflater(WINDOW_BITS[name]),
    );
  }

  get readable() {
    return this.#transform.readable;
  }

  get writable() {
    return this.#transform.writable;
  }
}

const SHOWN = ["readable", "writable"];
defineInterface(CompressionStream, { show: SHOWN });
defineInterface(DecompressionStream, { show: SHOWN });

module.exports = { CompressionStream, DecompressionStream };

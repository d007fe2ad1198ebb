"use strict";
// Bodies (https://fetch.spec.whatwg.org/#body-mixin), of requests and of responses. One is bytes
// that are there, chunks that come from outside, or a stream of the user's. It only becomes a
// stream when somebody asks for one: read whole, it needs none.
const { bytesUnder, isArray, isDetached, parse, then } = require("intrinsics");
const { blobOf, contentOf, isBlob } = require("web/blob");
const { entriesOf, formOf, isForm } = require("web/form_data");
const { usvString } = require("web/idl");
const { essenceOf, parameterOf, serializeType, typeOfHeaders } = require("web/mime_type");

const { ArrayBuffer, Object, Promise, TypeError, Uint8Array } = globalThis;
const NOTHING = new Uint8Array(0);
const noop = () => {};

/** Streams are large, and most bodies are read whole. */
const streams = () => require("web/stream_operations");

function encode(text) {
  const { TextEncoder } = require("vendor/encoding");
  return new TextEncoder().encode(text);
}

function decode(bytes, options) {
  const { TextDecoder } = require("vendor/encoding");
  return new TextDecoder("utf-8", options).decode(bytes);
}

function concatenate(chunks, size) {
  if (chunks.length === 1) return chunks[0];
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < chunks.length; i++) {
    bytes.set(chunks[i], at);
    at += chunks[i].length;
  }
  return bytes;
}

// What a promise resolves to is asked for a `then`, which code may have put onto all objects: so
// chunks and bytes are passed on in boxes, which inherit nothing.
const box = (bytes) => ({ __proto__: null, bytes });

/** What all chunks come to, in a box. */
async function drain(next) {
  const chunks = [];
  let size = 0;
  for (;;) {
    const chunk = await next();
    if (chunk === undefined) return box(concatenate(chunks, size));
    chunks[chunks.length] = chunk.bytes;
    size += chunk.bytes.length;
  }
}

/** The chunks of a stream: {next, cancel}. */
function chunksOf(stream) {
  const { cancelReader, getReader, read } = streams();
  const reader = getReader(stream);
  return {
    __proto__: null,
    next: async () => {
      const { done, value } = await read(reader);
      return done ? undefined : box(toChunk(value));
    },
    cancel: (reason) => {
      then(cancelReader(reader, reason), noop, noop);
    },
  };
}

class Body {
  /** All of it; undefined where it comes in chunks. */
  #bytes;
  /** Gives chunks from outside: {next, cancel}; undefined where there is no such source. */
  #source;
  #stream;
  #controller;
  #used = false;
  #failed = false;
  #reason;

  /**
   * @param {object} content one of
   * @param {Uint8Array} [content.bytes]
   * @param {{next: () => Promise<{bytes: Uint8Array} | undefined>, cancel: Function}}
   *     [content.source]
   * @param {object} [content.stream]
   */
  constructor({ bytes, source, stream }) {
    this.#bytes = bytes;
    this.#source = source;
    this.#stream = stream;
  }

  /** All of it, where that is known without reading. */
  get bytes() {
    return this.#stream === undefined && !this.#used ? this.#bytes : undefined;
  }

  get used() {
    return this.#stream === undefined ? this.#used : streams().isDisturbed(this.#stream);
  }

  /** Whether it can't be read any more, or not now. */
  get unusable() {
    if (this.#stream === undefined) return this.#used;
    const { isDisturbed, isLocked } = streams();
    return isDisturbed(this.#stream) || isLocked(this.#stream);
  }

  get stream() {
    if (this.#stream === undefined) this.#toStream();
    return this.#stream;
  }

  #toStream() {
    require("web/streams");
    const { byteStream, cancelReader, endBytes, enqueueBytes, errorBytes, getReader } = streams();
    const wasUsed = this.#used;
    const source = this.#source;
    let bytes = wasUsed ? NOTHING : this.#bytes;
    const made = byteStream(async () => {
      if (bytes !== undefined) {
        const all = bytes;
        bytes = NOTHING;
        if (all.length === 0) endBytes(made.controller);
        else enqueueBytes(made.controller, new Uint8Array(all));
        return;
      }
      const chunk = await source.next();
      if (this.#failed) return;
      if (chunk === undefined) endBytes(made.controller);
      else enqueueBytes(made.controller, chunk.bytes);
    }, source === undefined ? undefined : (reason) => source.cancel(reason));
    this.#stream = made.stream;
    this.#controller = made.controller;
    if (this.#failed) errorBytes(made.controller, this.#reason);
    if (bytes !== undefined && bytes.length === 0) endBytes(made.controller);
    // It was read whole before: by a reader that it still has.
    if (wasUsed) then(cancelReader(getReader(made.stream)), noop, noop);
  }

  /** All of its bytes, in a box; it is used then. */
  async readAll() {
    if (this.#stream !== undefined) return await drain(chunksOf(this.#stream).next);
    this.#used = true;
    if (this.#failed) throw this.#reason;
    return this.#bytes === undefined ? await drain(this.#source.next) : box(this.#bytes);
  }

  /** Chunks of it, one after the other; it is used then. {next, cancel} */
  chunks() {
    if (this.#stream !== undefined) return chunksOf(this.#stream);
    this.#used = true;
    if (this.#source !== undefined) return this.#source;
    let rest = box(this.#bytes);
    return {
      __proto__: null,
      next: async () => {
        const chunk = rest;
        rest = undefined;
        return chunk;
      },
      cancel: noop,
    };
  }

  /** The body to go on with, of another object: this one is used then. */
  move() {
    if (this.#stream === undefined) {
      const body = new Body({ bytes: this.#bytes, source: this.#source });
      this.#used = true;
      return body;
    }
    const source = chunksOf(this.#stream);
    streams().disturb(this.#stream);
    return new Body({ source });
  }

  /** Another body with the same content; both can be read. */
  clone() {
    if (this.#stream === undefined && this.#bytes !== undefined) {
      return new Body({ bytes: this.#bytes });
    }
    const { isByteStream, tee } = streams();
    const stream = this.stream;
    const isBytes = isByteStream(stream);
    const { 0: one, 1: other } = tee(stream);
    this.#stream = one;
    return new Body({ stream: isBytes ? other : copying(other) });
  }

  /** Throws the reason for which it has ended early. */
  requireWhole() {
    if (this.#failed) throw this.#reason;
  }

  /** Ends it: whoever reads gets the reason. */
  fail(reason) {
    if (this.#failed) return;
    this.#failed = true;
    this.#reason = reason;
    if (this.#stream === undefined) return;
    if (this.#controller === undefined) this.cancel(reason);
    else if (streams().isOpen(this.#controlled())) streams().errorBytes(this.#controller, reason);
  }

  #controlled() {
    return this.#controller._controlledReadableByteStream;
  }

  /** Nobody will read it. */
  cancel(reason) {
    if (this.#stream !== undefined) {
      const { cancelStream, isLocked } = streams();
      if (!isLocked(this.#stream)) then(cancelStream(this.#stream, reason), noop, noop);
    } else if (this.#source !== undefined && !this.#used) {
      this.#used = true;
      this.#source.cancel(reason);
    }
  }
}

/** A stream whose chunks are copies of another one's, whose chunks somebody else has too. */
function copying(stream) {
  const { anyStream, cancelReader, close, enqueue, getReader, read } = streams();
  const { structuredClone } = require("web/clone");
  const reader = getReader(stream);
  return anyStream(
    async (controller) => {
      const { done, value } = await read(reader);
      if (done) close(controller);
      else enqueue(controller, structuredClone(value));
    },
    (reason) => cancelReader(reader, reason),
  );
}

function toChunk(value) {
  if (value instanceof Uint8Array) return value;
  throw new TypeError("The body's stream has given a chunk that is not a Uint8Array.");
}

const isBuffer = (value) => typeof value === "object" && value !== null &&
  (ArrayBuffer.isView(value) || value instanceof ArrayBuffer);

/**
 * What somebody gives as a body (Web IDL's BodyInit), as one.
 *
 * @param {unknown} value neither null nor undefined
 * @returns {{body: Body, type: string | null}}
 */
function extract(value) {
  if (typeof value === "object" || typeof value === "function") {
    if (isBlob(value)) {
      const { bytes, type } = contentOf(value);
      return { body: new Body({ bytes }), type: type === "" ? null : type };
    }
    if (isBuffer(value)) {
      const isGone = isDetached(ArrayBuffer.isView(value) ? value.buffer : value);
      const bytes = isGone ? NOTHING : new Uint8Array(bytesUnder(value));
      return { body: new Body({ bytes }), type: null };
    }
    if (isForm(value)) {
      const { boundary, bytes } = require("web/multipart").encodeForm(entriesOf(value));
      return { body: new Body({ bytes }), type: `multipart/form-data; boundary=${boundary}` };
    }
    const text = require("web/url").formText(value);
    if (text !== undefined) {
      return {
        body: new Body({ bytes: encode(text) }),
        type: "application/x-www-form-urlencoded;charset=UTF-8",
      };
    }
    const { isDisturbed, isLocked, isStream } = streams();
    if (isStream(value)) {
      if (isDisturbed(value) || isLocked(value)) {
        throw new TypeError("The stream of the body is locked, or was read from.");
      }
      return { body: new Body({ stream: value }), type: null };
    }
  }
  return { body: new Body({ bytes: encode(usvString(value)) }), type: "text/plain;charset=UTF-8" };
}

/** What the ways to read a body make of its bytes and of the MIME type, null if there is none. */
const CONVERSIONS = {
  __proto__: null,
  arrayBuffer: (bytes) => new Uint8Array(bytes).buffer,
  blob: (bytes, type) => blobOf(bytes, type === null ? "" : serializeType(type)),
  bytes: (bytes) => new Uint8Array(bytes),
  formData: toForm,
  json: (bytes) => parse(decode(bytes)),
  text: (bytes) => decode(bytes),
};

function toForm(bytes, type) {
  const essence = type === null ? "" : essenceOf(type);
  if (essence === "application/x-www-form-urlencoded") {
    // A byte order mark belongs to the first name, as the standard of URLs decodes forms.
    return formOf(require("web/url").formPairs(decode(bytes, { ignoreBOM: true })));
  }
  if (essence === "multipart/form-data") {
    const boundary = parameterOf(type, "boundary");
    if (boundary !== undefined) {
      return formOf(require("web/multipart").decodeForm(bytes, boundary));
    }
  }
  throw new TypeError("formData: the Content-Type is not that of a form" +
    `${essence === "" ? "" : `, but '${essence}'`}.`);
}

/**
 * Give an interface its body.
 *
 * @param {Function} Class
 * @param {(object: object) => {body: Body | null, list: object[]}} stateOf an object's body and
 *     its headers; throws for what is no object of the interface
 */
function defineBody(Class, stateOf) {
  const members = {
    get body() {
      return stateOf(this).body?.stream ?? null;
    },
    get bodyUsed() {
      return stateOf(this).body?.used ?? false;
    },
  };
  for (const name of Object.keys(CONVERSIONS)) {
    members[name] = {
      async [name]() {
        const { body, list } = stateOf(this);
        if (body === null) return CONVERSIONS[name](NOTHING, typeOfHeaders(list));
        body.requireWhole();
        if (body.unusable) {
          throw new TypeError(`${Class.name}.${name}: the body was read already, or is being read`);
        }
        const { bytes } = await body.readAll();
        return CONVERSIONS[name](bytes, typeOfHeaders(list));
      },
    }[name];
  }
  for (const name of Object.keys(members)) {
    const { get, value } = Object.getOwnPropertyDescriptor(members, name);
    const what = get === undefined ? { value, writable: true } : { get };
    Object.defineProperty(Class.prototype, name, { ...what, enumerable: true, configurable: true });
  }
}

module.exports = { Body, NOTHING, decode, defineBody, encode, extract };

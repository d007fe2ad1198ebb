"use strict";
// Brotli by a library outside of the heap, where its state is lost when the heap is saved. What
// a stream was given is kept until its end, to make that state again.

const PIECE = 1 << 16; // bytes that are handed over at a time: V8 can't interrupt the library
const NOTHING = new Uint8Array(0);
// What a decoder says.
const MORE = 1;
const ENDED = 2;
const INVALID = 3;

let streams = 0;

const afterEnd = () => new TypeError("There is data after the end.");

/** Compresses at the end: an encoder can't be made again in the midst of its output. */
class Encoder {
  #given = [];

  transform(chunk) {
    this.#given[this.#given.length] = chunk;
  }

  flush(controller) {
    const given = this.#given;
    this.#given = [];
    let first = true;
    for (let i = 0; i < given.length; i++) {
      const chunk = given[i];
      for (let at = 0; at < chunk.length; at += PIECE) {
        put(host.compress(chunk.subarray(at, at + PIECE), first, false), controller);
        first = false;
      }
    }
    put(host.compress(NOTHING, first, true), controller);
  }
}

class Decoder {
  #stream = ++streams;
  #given = [];
  #made = 0; // bytes that came of what was given
  #known = 0; // of them those that come once more, as their decoder is a new one
  #ended = false;

  transform(chunk, controller) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      if (this.#ended) throw afterEnd();
      const piece = chunk.subarray(at, at + PIECE);
      if (!this.#feed(piece, controller)) this.#feedBytes(piece, controller);
      if (this.#ended) this.#given = [];
      else this.#given[this.#given.length] = piece;
    }
  }

  flush() {
    if (!this.#ended) throw new TypeError("The compressed data ends too early.");
  }

  /** @returns {boolean} whether the piece was valid */
  #feed(piece, controller) {
    let answer = host.decompress(this.#stream, piece, this.#given.length === 0);
    if (answer === undefined) {
      this.#feedAgain(controller);
      answer = host.decompress(this.#stream, piece, false);
    }
    return this.#take(answer, controller);
  }

  #take(first, controller) {
    let { 0: bytes, 1: state } = first;
    for (;;) {
      const known = Math.min(this.#known, bytes.length);
      this.#known -= known;
      this.#made += bytes.length - known;
      put(bytes.subarray(known), controller);
      if (state !== MORE) break;
      ({ 0: bytes, 1: state } = host.decompress(this.#stream, NOTHING, false));
    }
    this.#ended = state === ENDED;
    return state !== INVALID;
  }

  #feedAgain(controller) {
    this.#known = this.#made;
    for (let i = 0; i < this.#given.length; i++) {
      this.#take(host.decompress(this.#stream, this.#given[i], i === 0), controller);
    }
  }

  /** Finds the end in a piece that goes on after it: what comes before the end is valid. */
  #feedBytes(piece, controller) {
    const made = new Gathering();
    this.#feedAgain(made);
    for (let at = 0; at < piece.length && !this.#ended; at++) {
      const fresh = at === 0 && this.#given.length === 0;
      const answer = host.decompress(this.#stream, piece.subarray(at, at + 1), fresh);
      if (!this.#take(answer, made)) throw new TypeError("The compressed data was not valid.");
    }
    put(made.bytes(), controller);
    throw afterEnd();
  }
}

/** What takes bytes as a controller does, to give them out as one chunk. */
class Gathering {
  #chunks = [];
  #size = 0;

  enqueue(bytes) {
    this.#chunks[this.#chunks.length] = bytes;
    this.#size += bytes.length;
  }

  bytes() {
    const all = new Uint8Array(this.#size);
    let at = 0;
    for (let i = 0; i < this.#chunks.length; i++) {
      all.set(this.#chunks[i], at);
      at += this.#chunks[i].length;
    }
    return all;
  }
}

function put(bytes, controller) {
  if (bytes.length > 0) controller.enqueue(bytes);
}

module.exports = { Decoder, Encoder };

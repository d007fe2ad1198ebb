"use strict";
const { TextDecoder, TextEncoder } = require("web/encoding");
const { defineInterface } = require("web/idl");
const { TransformStream } = require("web/streams");

class TextEncoderStream {
  #encoder = new TextEncoder();
  #lead = ""; // the first half of a surrogate pair whose second half is in the next chunk
  #transform = new TransformStream({
    transform: (chunk, controller) => {
      let text = this.#lead + `${chunk}`;
      this.#lead = "";
      if (/[\uD800-\uDBFF]$/.test(text)) {
        this.#lead = text.at(-1);
        text = text.slice(0, -1);
      }
      if (text) controller.enqueue(this.#encoder.encode(text));
    },
    flush: (controller) => {
      if (this.#lead) controller.enqueue(this.#encoder.encode(this.#lead));
    },
  });

  get encoding() {
    return this.#encoder.encoding;
  }

  get readable() {
    return this.#transform.readable;
  }

  get writable() {
    return this.#transform.writable;
  }
}

class TextDecoderStream {
  #decoder;
  #transform = new TransformStream({
    transform: (chunk, controller) => {
      const text = this.#decoder.decode(chunk, { stream: true });
      if (text) controller.enqueue(text);
    },
    flush: (controller) => {
      const text = this.#decoder.decode();
      if (text) controller.enqueue(text);
    },
  });

  constructor(label = "utf-8", options = {}) {
    this.#decoder = new TextDecoder(label, options);
  }

  get encoding() {
    return this.#decoder.encoding;
  }

  get fatal() {
    return this.#decoder.fatal;
  }

  get ignoreBOM() {
    return this.#decoder.ignoreBOM;
  }

  get readable() {
    return this.#transform.readable;
  }

  get writable() {
    return this.#transform.writable;
  }
}

const SHOWN = ["encoding", "readable", "writable"];
defineInterface(TextEncoderStream, { show: SHOWN });
defineInterface(TextDecoderStream, { show: [...SHOWN, "fatal", "ignoreBOM"] });

module.exports = { TextDecoderStream, TextEncoderStream };

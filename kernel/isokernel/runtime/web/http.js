"use strict";
// One exchange of HTTP: a request out, a response in, both in pieces. Whoever holds the context's
// capabilities connects; which connections there are, and to whom, is decided there.
const { Set, setAdd, setDelete, setNext, setValues, then } = require("intrinsics");

const { Promise, TypeError, Uint8Array } = globalThis;
const PIECE = 256 * 1024; // bytes of a request's body that go over at a time
const noop = () => {};

let handles = 0;

/** An error as `fetch` has it; of what a policy denies, the error is the denial itself. */
function networkError(error) {
  if (error.code === "capability_denied") return error;
  return new TypeError(error.message, { cause: error });
}

class Exchange {
  #call = require("capabilities").call;
  #handle = ++handles;
  #first;
  #done = false;
  #reason;
  /** What rejects those that wait for something of it. */
  #waiting = new Set();

  /**
   * Sends the request, and waits for the head of the response.
   *
   * @param {{method: string, url: string, headers: string[][]}} head
   * @param {Body | null} body
   * @returns {Promise<{status: number, statusText: string, headers: string[][]}>}
   */
  async open(head, body) {
    const bytes = body?.bytes;
    const isStreamed = body !== null && (bytes === undefined || bytes.length > PIECE);
    const size = isStreamed ? bytes?.length : undefined;
    const args = { __proto__: null, ...head, handle: this.#handle, streaming: isStreamed, size };
    const opened = await this.#ask("open", args, isStreamed ? undefined : bytes);
    if (!isStreamed) return this.#begin(opened);
    const failed = new Promise((_, reject) => {
      then(this.#send(body.chunks()), undefined, reject);
    });
    return this.#begin(await this.#either(this.#ask("head"), failed));
  }

  #begin({ value, data }) {
    this.#done = value.done;
    if (data !== undefined && data.byteLength > 0) this.#first = new Uint8Array(data);
    return { __proto__: null, ...value };
  }

  /** Sends a body that comes in chunks; each when the one before it has been taken. */
  async #send(chunks) {
    try {
      for (;;) {
        const chunk = await this.#either(chunks.next());
        if (chunk === undefined) break;
        const { bytes } = chunk;
        for (let at = 0; at < bytes.length; at += PIECE) {
          await this.#ask("write", undefined, bytes.subarray(at, at + PIECE));
        }
      }
      await this.#ask("write", { __proto__: null, last: true });
    } catch (error) {
      chunks.cancel(error);
      throw error;
    }
  }

  /** The next chunk of the response's body, in a box; undefined at its end. */
  next = async () => {
    if (this.#reason !== undefined) throw this.#reason.reason;
    if (this.#first !== undefined) {
      const bytes = this.#first;
      this.#first = undefined;
      return { __proto__: null, bytes };
    }
    while (!this.#done) {
      const { value, data } = await this.#ask("read");
      this.#done = value.done;
      if (data !== undefined && data.byteLength > 0) return { __proto__: null, bytes: new Uint8Array(data) };
    }
    return undefined;
  };

  /** Nobody wants the rest. */
  cancel = (reason) => {
    this.stop(reason);
  };

  /** Ends it: whoever waits gets the reason. */
  stop(reason) {
    if (this.#reason !== undefined) return;
    this.#reason = { __proto__: null, reason };
    const rejects = setValues(this.#waiting);
    for (let each = setNext(rejects); !each.done; each = setNext(rejects)) each.value(reason);
    if (this.#done) return;
    this.#done = true;
    this.#close();
  }

  #close = () => {
    then(this.#call("net.close", { __proto__: null, handle: this.#handle }), noop, noop);
  };

  async #ask(name, args, data) {
    if (this.#reason !== undefined) throw this.#reason.reason;
    const given = { __proto__: null, handle: this.#handle, ...args };
    const asked = this.#call(`net.${name}`, given, data, this.#close);
    try {
      return await this.#either(asked);
    } catch (error) {
      throw this.#reason === undefined ? networkError(error) : this.#reason.reason;
    }
  }

  /** What comes first: one of these, or the end of all. */
  #either(...promises) {
    return new Promise((resolve, reject) => {
      const end = (settle) => (value) => {
        setDelete(this.#waiting, reject);
        settle(value);
      };
      setAdd(this.#waiting, reject);
      for (let i = 0; i < promises.length; i++) then(promises[i], end(resolve), end(reject));
    });
  }
}

module.exports = { Exchange };

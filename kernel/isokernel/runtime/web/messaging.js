"use strict";
// MessageChannel within a context: both ports are of the same isolate. A message is cloned when
// it is posted and arrives in a turn of its own, as in a browser.
const { defineHandler, dispatchTrusted, EventTarget } = require("web/event_target");
const { MessageEvent } = require("web/events");
const { cloners, defineInterface, dictionary, PLATFORM, requireArguments, requirePlatform } =
  require("web/idl");

/** Connect two ports; take a port's place in the channel over (transfer). */
let entangle;
let move;
/** Whether a value is a port; whether a port was moved or closed. */
let isPort;
let isDetached;

class MessagePort extends EventTarget {
  #other = null;
  #started = false;
  #waiting = [];
  #detached = false;

  constructor(token) {
    requirePlatform(token);
    super();
  }

  postMessage(message, options) {
    requireArguments(arguments.length, 1, "postMessage");
    const isList = typeof options?.[Symbol.iterator] === "function";
    const list = isList ? options : dictionary(options, "postMessage").transfer;
    const transfer = list === undefined ? [] : [...list];
    const { cloneWithPorts } = require("web/clone");
    const { DOMException } = require("web/exception");
    if (transfer.includes(this)) {
      throw new DOMException("A port can't be sent through itself.", "DataCloneError");
    }
    const target = this.#other;
    const { value, ports } = cloneWithPorts(message, transfer);
    if (target === null) return;
    target.#waiting.push({ data: value, ports });
    if (target.#started) target.#deliver();
  }

  start() {
    if (this.#started || this.#detached) return;
    this.#started = true;
    for (let i = 0; i < this.#waiting.length; i++) this.#deliver();
  }

  close() {
    this.#detached = true;
    const other = this.#other;
    this.#other = null;
    if (other !== null) other.#other = null;
  }

  /** One turn for one message. */
  #deliver() {
    require("timers").globals.setImmediate(() => {
      if (this.#detached || this.#waiting.length === 0) return;
      dispatchTrusted(this, new MessageEvent("message", this.#waiting.shift()));
    });
  }

  static {
    entangle = (one, two) => {
      one.#other = two;
      two.#other = one;
    };
    move = (port) => {
      const moved = new MessagePort(PLATFORM);
      const other = port.#other;
      moved.#waiting = port.#waiting;
      port.#waiting = [];
      port.#other = null;
      port.#detached = true;
      if (other !== null) entangle(moved, other);
      return moved;
    };
    isPort = (value) => typeof value === "object" && value !== null && #detached in value;
    isDetached = (port) => port.#detached;
  }
}

defineHandler(MessagePort, "message");
defineHandler(MessagePort, "messageerror");
// To set the handler is to start the port.
const { get, set } = Object.getOwnPropertyDescriptor(MessagePort.prototype, "onmessage");
Object.defineProperty(MessagePort.prototype, "onmessage", {
  get,
  set(value) {
    set.call(this, value);
    this.start();
  },
  enumerable: true,
  configurable: true,
});

class MessageChannel {
  #port1 = new MessagePort(PLATFORM);
  #port2 = new MessagePort(PLATFORM);

  constructor() {
    entangle(this.#port1, this.#port2);
  }

  get port1() {
    return this.#port1;
  }

  get port2() {
    return this.#port2;
  }
}

defineInterface(MessagePort, { show: [] });
defineInterface(MessageChannel, { show: ["port1", "port2"] });
cloners.set(MessageChannel, null);
cloners.set(MessagePort, null);

module.exports = { MessageChannel, MessagePort, isDetached, isPort, move };

"use strict";
const { Event, SHOWN } = require("web/event");
const { EventTarget } = require("web/event_target");
const { defineInterface, dictionary } = require("web/idl");

class CustomEvent extends Event {
  #detail;

  constructor(type, init) {
    super(...arguments);
    this.#detail = dictionary(init, "CustomEvent").detail ?? null;
  }

  get detail() {
    return this.#detail;
  }
}

class ErrorEvent extends Event {
  #init;

  constructor(type, init) {
    super(...arguments);
    const { message = "", filename = "", lineno = 0, colno = 0, error } = init ?? {};
    const at = { lineno: lineno >>> 0, colno: colno >>> 0 };
    this.#init = { message: `${message}`, filename: `${filename}`, ...at, error };
  }

  get message() {
    return this.#init.message;
  }

  get filename() {
    return this.#init.filename;
  }

  get lineno() {
    return this.#init.lineno;
  }

  get colno() {
    return this.#init.colno;
  }

  get error() {
    return this.#init.error;
  }
}

class MessageEvent extends Event {
  #init;

  constructor(type, init) {
    super(...arguments);
    const { data = null, origin = "", lastEventId = "", source = null, ports = [] } = init ?? {};
    this.#init = {
      data,
      origin: `${origin}`,
      lastEventId: `${lastEventId}`,
      source,
      ports: Object.freeze([...ports]),
    };
  }

  get data() {
    return this.#init.data;
  }

  get origin() {
    return this.#init.origin;
  }

  get lastEventId() {
    return this.#init.lastEventId;
  }

  get source() {
    return this.#init.source;
  }

  get ports() {
    return this.#init.ports;
  }
}

defineInterface(CustomEvent, { show: [...SHOWN, "detail"] });
defineInterface(ErrorEvent, { show: [...SHOWN, "message", "error"] });
defineInterface(MessageEvent, { show: [...SHOWN, "data"] });

module.exports = { CustomEvent, ErrorEvent, Event, EventTarget, MessageEvent };

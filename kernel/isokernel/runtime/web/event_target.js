"use strict";
const { dispatching, Event } = require("web/event");
const { DOMException } = require("web/exception");
const { defineInterface, dictionary, requireArguments } = require("web/idl");

/** Dispatch an event of the platform's own (isTrusted). */
let dispatchTrusted;
/** Get or set the event handler of a target (`target.onTYPE`). */
let getHandler;
let setHandler;

class EventTarget {
  /** @type {Map<string, object[]>} */
  #listeners = new Map();
  #handlers = null;

  addEventListener(type, callback, options) {
    requireArguments(arguments.length, 2, "addEventListener");
    const name = `${type}`;
    const { capture, once, passive, signal } = toOptions(options);
    if (signal !== undefined) requireSignal(signal);
    if (!isCallback(callback) || signal?.aborted) return;
    const list = this.#listeners.get(name) ?? [];
    if (list.some((l) => l.callback === callback && l.capture === capture)) return;
    const listener = { callback, capture, once, passive, removed: false };
    this.#listeners.set(name, [...list, listener]);
    signal?.addEventListener("abort", () => this.#remove(name, listener), { once: true });
  }

  removeEventListener(type, callback, options) {
    requireArguments(arguments.length, 2, "removeEventListener");
    const capture = typeof options === "boolean" ? options : dictionary(options, "removeEventListener").capture;
    const list = this.#listeners.get(`${type}`);
    if (!isCallback(callback) || !list) return;
    const listener = list.find((l) => l.callback === callback && l.capture === Boolean(capture));
    if (listener) this.#remove(`${type}`, listener);
  }

  dispatchEvent(event) {
    this.#listeners; // throws for what is no EventTarget
    requireArguments(arguments.length, 1, "dispatchEvent");
    if (!dispatching.isEvent(event)) {
      throw new TypeError("Failed to execute 'dispatchEvent': parameter 1 is not an Event.");
    }
    if (dispatching.isDispatched(event)) {
      throw new DOMException("The event is already being dispatched.", "InvalidStateError");
    }
    return this.#dispatch(event, false);
  }

  #dispatch(event, trusted) {
    dispatching.begin(event, this, trusted);
    this.#invoke(event, true);
    if (!dispatching.isStopped(event)) this.#invoke(event, false);
    dispatching.end(event);
    return !event.defaultPrevented;
  }

  // The lists are replaced and never changed, so that listeners may come and go meanwhile.
  #invoke(event, capture) {
    for (const listener of this.#listeners.get(event.type) ?? []) {
      if (listener.capture !== capture || listener.removed) continue;
      if (listener.once) this.#remove(event.type, listener);
      dispatching.setPassive(event, listener.passive);
      call(listener.callback, this, event);
      dispatching.setPassive(event, false);
      if (dispatching.isStoppedAtOnce(event)) return;
    }
  }

  #remove(name, listener) {
    listener.removed = true;
    const rest = (this.#listeners.get(name) ?? []).filter((other) => other !== listener);
    if (rest.length) this.#listeners.set(name, rest);
    else this.#listeners.delete(name);
  }

  static {
    dispatchTrusted = (target, event) => target.#dispatch(event, true);
    getHandler = (target, type) => target.#handlers?.get(type)?.value ?? null;
    setHandler = (target, type, value) => {
      target.#handlers ??= new Map();
      const handlers = target.#handlers;
      if (typeof value !== "function" && (typeof value !== "object" || value === null)) {
        const old = handlers.get(type);
        if (old) target.removeEventListener(type, old.listener);
        handlers.delete(type);
      } else if (handlers.has(type)) {
        handlers.get(type).value = value; // keeps its place in the order
      } else {
        const handler = { value, listener: (event) => callHandler(handler.value, target, event) };
        handlers.set(type, handler);
        target.addEventListener(type, handler.listener);
      }
    };
  }
}

function toOptions(options) {
  if (typeof options === "boolean") {
    return { capture: options, once: false, passive: false, signal: undefined };
  }
  const { capture, once, passive, signal } = dictionary(options, "addEventListener");
  return {
    capture: Boolean(capture),
    once: Boolean(once),
    passive: Boolean(passive),
    signal,
  };
}

function requireSignal(signal) {
  if (!(signal instanceof require("web/abort").AbortSignal)) {
    throw new TypeError("Failed to execute 'addEventListener': 'signal' is no AbortSignal.");
  }
}

function isCallback(callback) {
  if (callback === null || callback === undefined) return false;
  if (typeof callback === "function" || typeof callback === "object") return true;
  throw new TypeError("Failed to execute 'addEventListener': parameter 2 is not an object.");
}

function call(callback, target, event) {
  try {
    if (typeof callback === "function") Reflect.apply(callback, target, [event]);
    else callback.handleEvent(event);
  } catch (error) {
    host.reportError(error);
  }
}

function callHandler(handler, target, event) {
  if (typeof handler !== "function") return;
  if (Reflect.apply(handler, target, [event]) === false) event.preventDefault();
}

/** Define `onTYPE` on an interface. */
function defineHandler(Class, type) {
  Object.defineProperty(Class.prototype, `on${type}`, {
    get() {
      return getHandler(this, type);
    },
    set(value) {
      setHandler(this, type, value);
    },
    enumerable: true,
    configurable: true,
  });
}

defineInterface(EventTarget, { show: [] });

module.exports = { Event, EventTarget, defineHandler, dispatchTrusted };

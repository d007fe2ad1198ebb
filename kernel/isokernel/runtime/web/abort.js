"use strict";
const { Event, EventTarget, defineHandler, dispatchTrusted } = require("web/event_target");
const { DOMException } = require("web/exception");
const { startUnheld } = require("timers");
const { PLATFORM, defineInterface, requireArguments, requirePlatform } = require("web/idl");

const aborted = () => new DOMException("This operation was aborted", "AbortError");
const LONGEST = Number.MAX_SAFE_INTEGER; // AbortSignal.timeout: [EnforceRange] unsigned long long

/** Abort a signal and the signals made from it. */
let abort;
/** Whether a value is a signal. */
let isSignal;
/** Whether a signal is aborted, and why: {aborted, reason}. */
let stateOf;
/** Have a function called when a signal is aborted, before its events; gives what undoes it. */
let whenAborted;
/** The signal that is aborted with another one, and is another object. */
let follow;

class AbortSignal extends EventTarget {
  #aborted = false;
  #reason = undefined;
  /** The plain signals that a signal made by AbortSignal.any waits for; null on a plain one. */
  #sources = null;
  /** What the platform itself does when it is aborted. */
  #steps = new Set();
  /** The signals made from this one. Strong references: weak ones are no state to save. */
  #dependents = new Set();

  constructor(token) {
    requirePlatform(token);
    super();
  }

  get aborted() {
    return this.#aborted;
  }

  get reason() {
    return this.#reason;
  }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  static abort(reason = aborted()) {
    const signal = new AbortSignal(PLATFORM);
    signal.#settle(reason);
    return signal;
  }

  static timeout(milliseconds) {
    requireArguments(arguments.length, 1, "AbortSignal.timeout");
    const delay = Math.trunc(Number(milliseconds));
    if (!(delay >= 0 && delay <= LONGEST)) {
      throw new TypeError("AbortSignal.timeout: the value is outside the range of a delay.");
    }
    const signal = new AbortSignal(PLATFORM);
    startUnheld(() => {
      abort(signal, new DOMException("The operation timed out.", "TimeoutError"));
    }, delay);
    return signal;
  }

  static any(signals) {
    requireArguments(arguments.length, 1, "AbortSignal.any");
    const list = [...signals];
    for (const signal of list) {
      if (!isSignal(signal)) {
        throw new TypeError("AbortSignal.any: not every member is of type 'AbortSignal'.");
      }
    }
    return new AbortSignal(PLATFORM).#follow(list);
  }

  #follow(signals) {
    for (let i = 0; i < signals.length; i++) {
      if (!signals[i].#aborted) continue;
      this.#settle(signals[i].#reason);
      return this;
    }
    this.#sources = new Set();
    for (let i = 0; i < signals.length; i++) {
      for (const source of signals[i].#sources ?? [signals[i]]) {
        this.#sources.add(source);
        source.#dependents.add(this);
      }
    }
    return this;
  }

  #settle(reason) {
    this.#aborted = true;
    this.#reason = reason;
    for (const source of this.#sources ?? []) source.#dependents.delete(this);
    this.#sources &&= new Set();
  }

  static {
    abort = (signal, reason = aborted()) => {
      if (signal.#aborted) return;
      // All are aborted before the first listener runs and may look at them.
      const all = [signal, ...[...signal.#dependents].filter((s) => !s.#aborted)];
      for (const each of all) each.#settle(reason);
      signal.#dependents.clear();
      for (const each of all) {
        const steps = each.#steps;
        each.#steps = new Set();
        for (const step of steps) step(reason);
        dispatchTrusted(each, new Event("abort"));
      }
    };
    isSignal = (value) => typeof value === "object" && value !== null && #sources in value;
    stateOf = (signal) => ({ __proto__: null, aborted: signal.#aborted, reason: signal.#reason });
    whenAborted = (signal, step) => {
      signal.#steps.add(step);
      return () => signal.#steps.delete(step);
    };
    follow = (signal) => new AbortSignal(PLATFORM).#follow(signal === null ? [] : [signal]);
  }
}

defineInterface(AbortSignal, { show: ["aborted"] });
defineHandler(AbortSignal, "abort");

class AbortController {
  #signal = new AbortSignal(PLATFORM);

  get signal() {
    return this.#signal;
  }

  abort(reason) {
    abort(this.#signal, reason);
  }
}

defineInterface(AbortController, { show: ["signal"] });

module.exports = { AbortController, AbortSignal, follow, isSignal, stateOf, whenAborted };

"use strict";
// Events and their targets are our own: the packages that had them are no longer kept up, and
// without a tree of nodes the DOM's dispatch is short.
const { now } = require("web/clock");
const { defineInterface, dictionary, requireArguments } = require("web/idl");

const NONE = 0;
const CAPTURING_PHASE = 1;
const AT_TARGET = 2;
const BUBBLING_PHASE = 3;

/**
 * What dispatching needs of an event's private state, for event_target.js:
 * begin(event, target, trusted), end(event), setPassive(event, on), isDispatched(event),
 * isStopped(event), isStoppedAtOnce(event).
 */
let dispatching;
/** The getter that all events share. */
let isTrusted;
const { defineProperty } = Object;

class Event {
  #type;
  #bubbles;
  #cancelable;
  #composed;
  #timeStamp = now();
  #trusted = false;
  #target = null;
  #currentTarget = null;
  #phase = NONE;
  #dispatched = false;
  #stopped = false;
  #stoppedAtOnce = false;
  #canceled = false;
  #passive = false;

  constructor(type, init) {
    requireArguments(arguments.length, 1, "Event");
    const { bubbles, cancelable, composed } = dictionary(init, "Event");
    this.#type = `${type}`;
    this.#bubbles = Boolean(bubbles);
    this.#cancelable = Boolean(cancelable);
    this.#composed = Boolean(composed);
    // [LegacyUnforgeable]: each event's own, with one getter for all.
    defineProperty(this, "isTrusted", { get: isTrusted, enumerable: true, configurable: false });
  }

  get type() {
    return this.#type;
  }

  get target() {
    return this.#target;
  }

  get srcElement() {
    return this.#target;
  }

  get currentTarget() {
    return this.#currentTarget;
  }

  get eventPhase() {
    return this.#phase;
  }

  get bubbles() {
    return this.#bubbles;
  }

  get cancelable() {
    return this.#cancelable;
  }

  get composed() {
    return this.#composed;
  }

  get defaultPrevented() {
    return this.#canceled;
  }

  get timeStamp() {
    return this.#timeStamp;
  }

  get cancelBubble() {
    return this.#stopped;
  }

  set cancelBubble(value) {
    if (value) this.#stopped = true;
  }

  get returnValue() {
    return !this.#canceled;
  }

  set returnValue(value) {
    if (!value) this.preventDefault();
  }

  composedPath() {
    return this.#currentTarget === null ? [] : [this.#currentTarget];
  }

  stopPropagation() {
    this.#stopped = true;
  }

  stopImmediatePropagation() {
    this.#stopped = true;
    this.#stoppedAtOnce = true;
  }

  preventDefault() {
    if (this.#cancelable && !this.#passive) this.#canceled = true;
  }

  initEvent(type, bubbles = false, cancelable = false) {
    requireArguments(arguments.length, 1, "initEvent");
    if (this.#dispatched) return;
    this.#stopped = false;
    this.#stoppedAtOnce = false;
    this.#canceled = false;
    this.#trusted = false;
    this.#target = null;
    this.#type = `${type}`;
    this.#bubbles = Boolean(bubbles);
    this.#cancelable = Boolean(cancelable);
  }

  static {
    isTrusted = {
      get isTrusted() {
        return this.#trusted;
      },
    };
    isTrusted = Object.getOwnPropertyDescriptor(isTrusted, "isTrusted").get;
    dispatching = {
      begin(event, target, trusted) {
        event.#dispatched = true;
        event.#trusted = trusted;
        event.#target = target;
        event.#currentTarget = target;
        event.#phase = AT_TARGET;
      },
      end(event) {
        event.#dispatched = false;
        event.#stopped = false;
        event.#stoppedAtOnce = false;
        event.#currentTarget = null;
        event.#phase = NONE;
      },
      isEvent: (event) => typeof event === "object" && event !== null && #type in event,
      isDispatched: (event) => event.#dispatched,
      isStopped: (event) => event.#stopped,
      isStoppedAtOnce: (event) => event.#stoppedAtOnce,
      setPassive(event, on) {
        event.#passive = on;
      },
    };
  }
}

/** The attributes that are shown of an event. */
const SHOWN = ["type", "defaultPrevented", "cancelable", "timeStamp"];

defineInterface(Event, {
  show: SHOWN,
  constants: { NONE, CAPTURING_PHASE, AT_TARGET, BUBBLING_PHASE },
});

module.exports = { Event, SHOWN, dispatching };

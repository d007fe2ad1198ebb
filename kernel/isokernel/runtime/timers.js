"use strict";
// setTimeout and its kin. The table is plain JavaScript data, so timers are saved and restored
// with the heap. Python asks when the next one is due and calls runTimers then.

const { Map, RangeError, Symbol, TypeError, apply, floor, mapDelete, mapForEach, mapGet, mapSet,
  mapSize, pop, trunc } = require("intrinsics");
const { carried, owner, runAs } = require("owner");
const { INSPECT } = require("text");
const evaluate = globalThis.eval; // called by another name: in the global scope

const LONGEST = 2 ** 31 - 1; // ms; more is taken as 1, as in Node.js
const FEWEST_DEAD = 1000; // cleared timers that may lie in the heap before it is cleaned

let limit = 100000;
let nextId = 1;
// The timer whose callback runs: still set afterwards when it was stopped from outside.
let firing;
// Live timers by id; the heap below may still hold cleared ones until they come up.
const timers = new Map();
// Without a prototype, whose indices user code could make accessors of.
const { setPrototypeOf } = Object;
const newHeap = () => setPrototypeOf([], null);
let heap = newHeap();

/** @param {number | undefined} max timers that may wait at a time */
exports.setLimit = (max) => {
  if (max > 0) limit = max;
};

const isBefore = (a, b) => a.due < b.due || (a.due === b.due && a.order < b.order);

function insert(timer) {
  let i = heap.length;
  heap[i] = timer;
  while (i > 0) {
    const parent = floor((i - 1) / 2);
    if (!isBefore(timer, heap[parent])) break;
    heap[i] = heap[parent];
    i = parent;
  }
  heap[i] = timer;
}

function sink(timer, i) {
  const length = heap.length;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= length) break;
    if (child + 1 < length && isBefore(heap[child + 1], heap[child])) child += 1;
    if (!isBefore(heap[child], timer)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = timer;
}

function removeFirst() {
  const last = pop(heap);
  if (heap.length > 0) sink(last, 0);
}

/** The next live timer, or undefined; takes cleared ones off the heap on the way. */
function first() {
  while (heap.length > 0 && !heap[0].live) removeFirst();
  return heap[0];
}

/** Drops cleared timers from the midst of the heap when they are most of it. */
function clean() {
  if (heap.length - mapSize(timers) <= FEWEST_DEAD + mapSize(timers)) return;
  const before = heap;
  heap = newHeap();
  for (let i = 0; i < before.length; i++) if (before[i].live) insert(before[i]);
}

/**
 * What isn't a function is a script's text, as in a browser. Nobody means undefined or null.
 */
function handlerOf(name, value) {
  if (value === undefined || value === null) {
    throw new TypeError(`${name}: the callback must be a function, not ${value}`);
  }
  const text = `${value}`;
  return () => {
    evaluate(text);
  };
}

function add(name, callback, delay, repeats, args) {
  if (typeof callback !== "function") callback = handlerOf(name, callback);
  if (mapSize(timers) >= limit) {
    throw new RangeError(`${name}: ${limit} timers are waiting already`);
  }
  const id = nextId++;
  const timer = {
    __proto__: null, id, order: id, due: host.now() + delay, delay, repeats, callback, args,
    owner: owner(), carried: carried(), live: true, holds: true,
  };
  mapSet(timers, id, timer);
  insert(timer);
  return timer;
}

/**
 * What setTimeout and its kin return: a number to whoever wants one, as in a browser, with the
 * methods that Node.js gives it.
 */
class Timeout {
  #id;

  constructor(id) {
    this.#id = id;
  }

  /** Lets a run end before it fires. */
  unref() {
    return this.#hold(false);
  }

  /** Has a run wait for it, as it does from the beginning. */
  ref() {
    return this.#hold(true);
  }

  hasRef() {
    return mapGet(timers, this.#id)?.holds === true;
  }

  /** Begins its delay anew. */
  refresh() {
    const timer = mapGet(timers, this.#id);
    if (timer === undefined) return this;
    const due = host.now() + timer.delay;
    const renewed = { __proto__: null, ...timer, due, order: nextId++ };
    remove(timer);
    mapSet(timers, timer.id, renewed);
    insert(renewed);
    clean();
    return this;
  }

  close() {
    clear(this.#id);
    return this;
  }

  toJSON() {
    return this.#id;
  }

  [Symbol.toPrimitive]() {
    return this.#id;
  }

  [INSPECT]() {
    return `Timeout (${this.#id})`;
  }

  #hold(holds) {
    const timer = mapGet(timers, this.#id);
    if (timer !== undefined) timer.holds = holds;
    return this;
  }

  static idOf(value) {
    return typeof value === "object" && value !== null && #id in value ? value.#id : value;
  }
}

function delayOf(value) {
  const delay = trunc(+value);
  return delay >= 1 && delay <= LONGEST ? delay : 1;
}

function remove(timer) {
  timer.live = false;
  timer.callback = timer.args = undefined;
  mapDelete(timers, timer.id);
}

function clear(id) {
  id = Timeout.idOf(id);
  if (typeof id !== "number" && typeof id !== "string") return;
  const timer = mapGet(timers, +id);
  if (timer === undefined) return;
  remove(timer);
  clean();
}

exports.globals = {
  setTimeout(callback, delay, ...args) {
    return new Timeout(add("setTimeout", callback, delayOf(delay), false, args).id);
  },
  setInterval(callback, delay, ...args) {
    return new Timeout(add("setInterval", callback, delayOf(delay), true, args).id);
  },
  setImmediate(callback, ...args) {
    return new Timeout(add("setImmediate", callback, 0, false, args).id);
  },
  clearTimeout(id) {
    clear(id);
  },
  clearInterval(id) {
    clear(id);
  },
  clearImmediate(id) {
    clear(id);
  },
};

/** A timer of ours that no run waits for. */
exports.startUnheld = function startUnheld(callback, delay) {
  add("setTimeout", callback, delay, false, []).holds = false;
};

/** Calls back; an error is reported as the timer's owner's, and stops nothing else. */
function call(callback, args) {
  try {
    apply(callback, undefined, args);
  } catch (error) {
    require("errors").report(error, "error");
  }
}

function fire(timer, now) {
  const { callback, args } = timer;
  // All is in order before the callback runs: it may be terminated, and never come back here.
  removeFirst();
  if (timer.repeats) {
    timer.due = now + timer.delay;
    timer.order = nextId++;
    insert(timer);
  } else {
    remove(timer);
  }
  firing = timer;
  runAs(timer.carried, call, [callback, args]);
  host.microtasks();
  firing = undefined;
}

/** @returns {number} when the next timer is due, by the host's clock; -1 when there is none */
exports.nextDue = function nextDue() {
  return first()?.due ?? -1;
};

/** @returns {number} ms until the next timer; 0 when one is due, -1 when there is none */
function nextTimer() {
  const timer = first();
  if (timer === undefined) return -1;
  const wait = timer.due - host.now();
  return wait > 0 ? wait : 0;
}

/**
 * Fires the timers that are due now; those that they set come at the next call.
 * @returns {number} as nextTimer
 */
exports.runTimers = function runTimers() {
  // Stopped: an interval would only have to be stopped again and again.
  if (firing !== undefined) remove(firing);
  firing = undefined;
  const now = host.now();
  const newest = nextId;
  for (let timer = first(); timer !== undefined; timer = first()) {
    if (timer.due > now || timer.order >= newest) break;
    fire(timer, now);
  }
  return nextTimer();
};

exports.nextTimer = nextTimer;

/** Whether a timer of an execution waits that holds it. Most often the first one is one. */
exports.holds = function holds(id) {
  for (let i = 0; i < heap.length; i++) {
    const timer = heap[i];
    if (timer.live && timer.holds && timer.owner === id) return true;
  }
  return false;
};

/** Clears the timers of an execution that was interrupted. */
exports.cancelOwner = function cancelOwner(id) {
  mapForEach(timers, (timer) => {
    if (timer.owner === id) remove(timer);
  });
  clean();
};

function shift(by) {
  for (let i = 0; i < heap.length; i++) heap[i].due += by;
}

/** Before the heap is saved: due times become what is left of them. */
exports.suspend = () => shift(-host.now());

/** After it was saved, or restored where the clock has another zero. */
exports.resume = () => shift(host.now());

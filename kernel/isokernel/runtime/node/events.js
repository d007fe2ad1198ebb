"use strict";
// node:events: the package's emitter, with what the module has gained since.

const { events: EventEmitter } = require("vendor/node/core");

/** Calls back when a signal is aborted; the result, with `Symbol.dispose`, ends that. */
function addAbortListener(signal, listener) {
  if (signal.aborted) queueMicrotask(() => listener());
  else signal.addEventListener("abort", listener, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", listener) };
}

function getEventListeners(emitter, name) {
  return typeof emitter.listeners === "function" ? emitter.listeners(name) : [];
}

const getMaxListeners = (emitter) => emitter.getMaxListeners?.() ?? 0;

function setMaxListeners(count, ...emitters) {
  if (emitters.length === 0) EventEmitter.defaultMaxListeners = count;
  for (const emitter of emitters) emitter.setMaxListeners?.(count);
}

const more = { EventEmitter, addAbortListener, captureRejectionSymbol: Symbol.for("nodejs.rejection"),
  captureRejections: false, errorMonitor: Symbol.for("events.errorMonitor"), getEventListeners,
  getMaxListeners, setMaxListeners };
for (const name of Object.keys(more)) EventEmitter[name] ??= more[name];

module.exports = EventEmitter;

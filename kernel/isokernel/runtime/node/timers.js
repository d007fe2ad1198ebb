"use strict";
// node:timers and node:timers/promises, on the context's own timers.

const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } =
  require("timers").globals;

/** Waits; ends early, with its reason, when the signal is aborted. */
function wait(start, clear, value, { signal, ref = true } = {}) {
  if (signal?.aborted) return Promise.reject(abortOf(signal));
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clear(timer);
      reject(abortOf(signal));
    };
    const timer = start(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve(value);
    });
    if (!ref) timer.unref();
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function abortOf({ reason }) {
  const error = new Error("The operation was aborted", { cause: reason });
  error.name = "AbortError";
  error.code = "ABORT_ERR";
  return error;
}

const sleep = (delay, value, options) =>
  wait((callback) => setTimeout(callback, delay), clearTimeout, value, options);

async function* interval(delay, value, options) {
  for (;;) yield await sleep(delay, value, options);
}

const promises = {
  scheduler: { wait: (delay, options) => sleep(delay, undefined, options),
    yield: () => wait((callback) => setImmediate(callback), clearImmediate) },
  setImmediate: (value, options) =>
    wait((callback) => setImmediate(callback), clearImmediate, value, options),
  setInterval: interval,
  setTimeout: sleep,
};

module.exports = { clearImmediate, clearInterval, clearTimeout, promises, setImmediate, setInterval,
  setTimeout };

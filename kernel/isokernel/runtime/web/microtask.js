"use strict";

// Taken now, so that code which patches promises later does not change this.
const { then } = Promise.prototype;
const settled = Promise.resolve();

function queueMicrotask(callback) {
  if (typeof callback !== "function") {
    throw new TypeError("Failed to execute 'queueMicrotask': parameter 1 is not a function.");
  }
  const run = () => {
    try {
      callback();
    } catch (error) {
      host.reportError(error);
    }
  };
  Reflect.apply(then, settled, [run]);
}

/** Show an error as one that nobody caught. */
function reportError(error) {
  if (arguments.length === 0) {
    throw new TypeError("Failed to execute 'reportError': 1 argument required.");
  }
  host.reportError(error);
}

module.exports = { queueMicrotask, reportError };

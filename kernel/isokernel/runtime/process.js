"use strict";
// The little of Node.js's process that cells use for output. There is no process to speak of:
// no environment, no arguments, no exit.

const { apply, resolve, then, trunc } = require("intrinsics");
const { write } = require("output");

function decode(bytes, name) {
  if (host.typeOf(bytes) !== "Uint8Array") {
    throw new TypeError(`process.${name}.write takes a string or a Uint8Array`);
  }
  return new TextDecoder().decode(bytes);
}

function stream(name) {
  return {
    isTTY: false,
    writable: true,
    write(text) {
      write(name, typeof text === "string" ? text : decode(text, name));
      return true;
    },
  };
}

function hrtime(earlier) {
  const now = host.now();
  let seconds = trunc(now / 1000);
  let nanoseconds = trunc((now % 1000) * 1e6);
  if (earlier !== undefined) {
    seconds -= earlier[0];
    nanoseconds -= earlier[1];
    if (nanoseconds < 0) {
      seconds -= 1;
      nanoseconds += 1e9;
    }
  }
  return [seconds, nanoseconds];
}
hrtime.bigint = () => BigInt(trunc(host.now() * 1e6));

/**
 * Makes the process object.
 * @param {{platform?: string, versions?: Record<string, string>}} options
 */
exports.createProcess = function createProcess({ platform = "linux", versions = {} }) {
  return {
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    platform,
    argv: [],
    env: {},
    versions,
    nextTick(callback, ...args) {
      if (typeof callback !== "function") {
        throw new TypeError("process.nextTick: the callback must be a function");
      }
      then(resolve(), () => apply(callback, undefined, args));
    },
    hrtime,
    exit() {
      throw new Error("process.exit: a cell can't end the kernel");
    },
  };
};

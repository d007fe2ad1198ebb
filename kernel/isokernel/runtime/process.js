"use strict";
// The little of Node.js's process that cells use for output. There is no process to speak of:
// no arguments, no exit, and an environment that is empty but for what an execution brings.

const { Error, TypeError, apply, defineProperty, getDescriptor, keys, resolve, then, trunc } =
  require("intrinsics");
const { write } = require("output");

function decode(bytes, name) {
  if (host.typeOf(bytes) !== "Uint8Array") {
    throw new TypeError(`process.${name}.write takes a string or a Uint8Array`);
  }
  return new TextDecoder().decode(bytes);
}

/** Calls back before timers; what that throws is an error of nobody's promise. */
function nextTick(callback, ...args) {
  if (typeof callback !== "function") {
    throw new TypeError("process.nextTick: the callback must be a function");
  }
  then(resolve(), () => {
    try {
      apply(callback, undefined, args);
    } catch (error) {
      require("errors").report(error, "error");
    }
  });
}

function stream(name) {
  return {
    isTTY: false,
    writable: true,
    write(text, encoding, callback) {
      write(name, typeof text === "string" ? text : decode(text, name));
      const done = typeof encoding === "function" ? encoding : callback;
      if (typeof done === "function") nextTick(done);
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

/** The Node.js whose API there is a part of; packages compare it. */
const NODE = "v22.0.0";

/** What other languages and HTTP call the folder that is `/` here. */
const HOME = "/home/user";

function refused(name, reason) {
  const method = {
    [name]() {
      throw new Error(`process.${name}: ${reason}`);
    },
  };
  return method[name];
}

const leave = refused("chdir", "a context has one folder");

/** Stays in the context's folder, by either name: hosts that know Node.js go there. */
function chdir(directory) {
  if (directory !== "/" && directory !== HOME) leave();
}

/** Prints a warning, as Node.js does. */
function emitWarning(warning, options, code) {
  const type = typeof options === "string" ? options : options?.type;
  const id = typeof options === "string" ? code : options?.code;
  const text = typeof warning === "string" ? warning : warning?.message;
  const name = typeof warning === "string" ? (type ?? "Warning") : warning?.name;
  write("stderr", `${id === undefined ? "" : `[${id}] `}${name}: ${text}\n`);
}

const env = {};
// What the names were before they were lent: property descriptors, undefined for a new one.
let before = { __proto__: null };

function put(name, descriptor) {
  try {
    if (descriptor === undefined) delete env[name];
    else defineProperty(env, name, descriptor);
  } catch {
    // The user has made it unchangeable: then it is theirs.
  }
}

/**
 * Shows an execution's variables in process.env, and takes back those of the one before.
 * @param {Record<string, string>} variables
 */
exports.lend = function lend(variables) {
  const lent = keys(before);
  for (let i = 0; i < lent.length; i++) put(lent[i], before[lent[i]]);
  before = { __proto__: null };
  const names = keys(variables);
  for (let i = 0; i < names.length; i++) {
    before[names[i]] = getDescriptor(env, names[i]);
    put(names[i], {
      __proto__: null, value: variables[names[i]], writable: true, enumerable: true,
      configurable: true,
    });
  }
};

/**
 * Makes the process object.
 * @param {{platform?: string, versions?: Record<string, string>}} options
 */
exports.createProcess = function createProcess({ platform = "linux", versions = {} }) {
  const process = {
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    stdin: { isTTY: false, fd: 0 },
    platform,
    arch: "x64",
    pid: 1,
    ppid: 0,
    title: "isokernel",
    version: NODE,
    argv: [],
    argv0: "isokernel",
    execArgv: [],
    execPath: "",
    exitCode: undefined,
    features: {},
    release: { name: "isokernel" },
    config: { variables: {} },
    env,
    versions,
    nextTick,
    hrtime,
    uptime: () => host.now() / 1000,
    cwd: () => "/",
    umask: () => 0o22,
    emitWarning,
    chdir,
    exit: refused("exit", "a cell can't end the kernel"),
    abort: refused("abort", "a cell can't end the kernel"),
    kill: refused("kill", "there are no processes"),
    memoryUsage: refused("memoryUsage", "it isn't known inside of the context"),
    // What loads add-ons looks in it for the C library, before it is told that none load.
    report: { excludeNetwork: false, getReport: () => ({ header: {}, sharedObjects: [] }) },
  };
  // Of its events none ever comes.
  const same = () => process;
  const names = ["addListener", "on", "once", "off", "prependListener", "prependOnceListener",
    "removeListener", "removeAllListeners", "setMaxListeners"];
  for (let i = 0; i < names.length; i++) process[names[i]] = same;
  process.emit = () => false;
  process.listenerCount = () => 0;
  process.listeners = () => [];
  return process;
};

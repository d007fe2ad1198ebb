"use strict";
// The global `tools`: a proxy whose calls go to the server and come back as promises. It is
// there for executions that were given tools, and while they run. Only JSON text crosses, both
// ways; an error that comes back becomes a ToolError made here, and which of them stand for a
// denied call is known by identity alone: nothing that code writes on an error, or makes itself,
// is ever looked at.

const { Error, Map, Promise, Proxy, Symbol, TypeError, WeakMap, charAt, charCode, create,
  defineProperty, getDescriptor, mapDelete, mapForEach, mapGet, mapKeys, mapNext, mapSet, mapSize,
  ownValue, parse, preventExtensions, push, stringify, then, weakGet, weakSet } =
  require("intrinsics");
const { owner } = require("owner");

const PATH_MAX = 512; // characters
const FORGOTTEN = 1000; // unanswered calls of ended executions that are kept for a restored heap
// Reading these must not look like a tool: promises are told by the first, JSON by the second.
const ABSENT = { __proto__: null, then: true, toJSON: true };
// Where a text alone will do as input.
const TEXT_INPUTS = { __proto__: null, discover: "query", search: "query", describe: "path" };

const noop = () => {};

/** What a call of a tool throws. Its fields are the same for every kind of source. */
class ToolError extends Error {
  /**
   * @param {string} [message]
   * @param {{code?: string, status?: number, details?: unknown, retryable?: boolean,
   *   cause?: unknown}} [options]
   */
  constructor(message, options = {}) {
    super(message, options);
    const { code = "error", status, details, retryable = false } = options;
    field(this, "code", code);
    if (status !== undefined) field(this, "status", status);
    if (details !== undefined) field(this, "details", details);
    field(this, "retryable", retryable);
  }
}

/** A call that a policy or a reviewer has denied. */
class ApprovalDeniedError extends ToolError {
  /**
   * @param {string} [message]
   * @param {object} [options] as ToolError's, and `reason`
   */
  constructor(message, options = {}) {
    super(message, { __proto__: null, code: "approval_denied", ...options });
    field(this, "reason", options.reason ?? "");
  }
}

function field(object, key, value) {
  defineProperty(object, key, {
    __proto__: null, value, writable: true, enumerable: true, configurable: true,
  });
}

function finish(kind) {
  defineProperty(kind.prototype, "name", {
    __proto__: null, value: kind.name, writable: true, enumerable: false, configurable: true,
  });
  preventExtensions(kind); // `super` stays what it is
}
finish(ToolError);
finish(ApprovalDeniedError);

const GLOBALS = { __proto__: null, tools: undefined, ToolError, ApprovalDeniedError };
const denials = new WeakMap(); // the errors of denied calls, and whose they were
const pathOf = new WeakMap(); // of proxies and of their targets
const pending = new Map(); // calls by id
let calls = 0;
let run; // the execution that has tools now: owner, callsMax, inputMax, live, before

// -- the proxy ------------------------------------------------------------------------------

const refuse = () => {
  throw new TypeError("tools can't be changed");
};

const handler = {
  __proto__: null,
  get(target, key) {
    const path = weakGet(pathOf, target);
    if (key === Symbol.toPrimitive) return () => (path === "" ? "tools" : `tools.${path}`);
    if (typeof key === "symbol" || key in ABSENT) return undefined;
    return node(path === "" ? key : `${path}.${key}`);
  },
  has: (_target, key) => typeof key === "string" && !(key in ABSENT),
  ownKeys: () => [],
  getOwnPropertyDescriptor: () => undefined,
  set: refuse,
  defineProperty: refuse,
  deleteProperty: refuse,
  setPrototypeOf: refuse,
  preventExtensions: refuse,
  apply(target, _self, args) {
    const call = { __proto__: null, owner: 0, answer: undefined, wake: undefined };
    call.promise = send(call, weakGet(pathOf, target), args);
    return call.promise;
  },
};

function node(path) {
  const target = path === "" ? create(null) : () => {};
  if (path !== "") defineProperty(target, "name", { __proto__: null, value: `tools.${path}` });
  weakSet(pathOf, target, path);
  const proxy = new Proxy(target, handler);
  weakSet(pathOf, proxy, path);
  return proxy;
}

GLOBALS.tools = node("");

// -- one call -------------------------------------------------------------------------------

/** Bytes of a text as UTF-8. */
function byteLength(text) {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const code = charCode(text, i);
    if (code > 0x7ff) bytes += (code & 0xf800) === 0xd800 ? 1 : 2;
    else if (code > 0x7f) bytes += 1;
  }
  return bytes;
}

function inputOf(path, args) {
  let value = args.length > 0 ? args[0] : undefined;
  if (value === undefined) return "{}";
  if (path in TEXT_INPUTS) {
    const text = weakGet(pathOf, value) ?? value;
    if (typeof text === "string") value = { __proto__: null, [TEXT_INPUTS[path]]: text };
  }
  let text;
  try {
    text = stringify(value);
  } catch (cause) {
    throw new ToolError(`tools.${path}: the input can't be made JSON`, {
      __proto__: null, code: "invalid_input", cause,
    });
  }
  if (text === undefined || charAt(text, 0) !== "{") {
    throw new ToolError(`tools.${path}: the input must be an object of plain data`, {
      __proto__: null, code: "invalid_input",
    });
  }
  return text;
}

function check(path, text) {
  const { callsMax, inputMax } = run;
  const refused = (message, code, retryable) => {
    throw new ToolError(`tools.${path}: ${message}`, { __proto__: null, code, retryable });
  };
  if (path.length > PATH_MAX) refused(`a name of ${path.length} characters`, "invalid_path", false);
  const bytes = text.length > inputMax ? text.length : byteLength(text);
  if (bytes > inputMax) {
    const message = `the input has ${bytes} bytes, ${inputMax} are allowed`;
    refused(message, "input_too_large", false);
  }
  if (run.live >= callsMax) {
    refused(`${callsMax} calls wait for their answers, no more may`, "too_many_calls", true);
  }
}

async function send(call, path, args) {
  const asker = owner();
  if (run === undefined || run.owner !== asker) {
    throw new ToolError(`tools.${path}: this execution has no tools, or is over`, {
      __proto__: null, code: "no_tools",
    });
  }
  const text = inputOf(path, args);
  check(path, text);
  call.owner = asker;
  const answered = new Promise((resolve) => {
    call.wake = resolve;
  });
  const id = ++calls;
  host.callTool(id, path, text, asker);
  mapSet(pending, id, call);
  run.live += 1;
  await answered;
  return open(call);
}

/** Gives what a call has come to; runs where V8 knows who awaits it, for the stack trace. */
function open({ answer, owner: asker }) {
  if (answer === undefined || answer.kind === "value") return answer?.content;
  const { kind, content } = answer;
  const message = `${ownValue(content, "message") ?? "the call failed"}`;
  const options = { __proto__: null };
  const names = ["code", "status", "details", "retryable", "reason"];
  for (let i = 0; i < names.length; i++) {
    const value = ownValue(content, names[i]) ?? undefined;
    if (value !== undefined) options[names[i]] = value;
  }
  if (kind !== "denied") throw new ToolError(message, options);
  const error = new ApprovalDeniedError(message, options);
  weakSet(denials, error, asker);
  throw error;
}

function wake(id, call, answer) {
  mapDelete(pending, id);
  if (run !== undefined && run.owner === call.owner) run.live -= 1;
  call.answer = answer;
  call.wake();
}

// -- for the host ---------------------------------------------------------------------------

/**
 * An execution begins that has tools.
 * @param {number} id
 * @param {string} optionsJson callsMax, inputMax
 */
exports.begin = function begin(id, optionsJson) {
  const { callsMax, inputMax } = parse(optionsJson);
  if (run !== undefined) exports.end(run.owner);
  const before = { __proto__: null };
  for (const name in GLOBALS) {
    before[name] = getDescriptor(globalThis, name);
    put(name, GLOBALS[name]);
  }
  run = { __proto__: null, owner: id, callsMax, inputMax, live: 0, before };
};

/** Defines a global; one that the user has made unchangeable is theirs. */
function put(name, value) {
  try {
    defineProperty(globalThis, name, {
      __proto__: null, value, writable: true, enumerable: false, configurable: true,
    });
  } catch {
    try {
      globalThis[name] = value; // a `var` of an earlier cell
    } catch {
      // A constant of theirs.
    }
  }
}

/**
 * The execution is over: the globals are what they were, unless it has changed them. Calls
 * without an answer get none.
 * @param {number} id
 */
exports.end = function end(id) {
  if (run === undefined || run.owner !== id) return;
  const { before } = run;
  run = undefined;
  for (const name in GLOBALS) {
    if (ownValue(globalThis, name) === GLOBALS[name]) restore(name, before[name]);
  }
  while (mapSize(pending) > FORGOTTEN) mapDelete(pending, mapNext(mapKeys(pending)).value);
};

function restore(name, descriptor) {
  try {
    if (descriptor === undefined) delete globalThis[name];
    else defineProperty(globalThis, name, descriptor);
  } catch {
    // As above.
  }
}

/** Whether code of an execution awaits the answer of a tool, itself awaited or not. */
exports.holds = function holds(id) {
  if (run === undefined || run.owner !== id || run.live === 0) return false;
  let found = false;
  mapForEach(pending, (call) => {
    found ||= call.owner === id && host.promiseDetails(call.promise)[2] === 1;
  });
  return found;
};

/**
 * A call is answered.
 * @param {number} id
 * @param {"value" | "error" | "denied"} kind
 * @param {string} json the value, or the error's fields
 */
exports.settle = function settle(id, kind, json) {
  const call = mapGet(pending, id);
  // Who has ended waits for nothing: what would go on then has no deadline any more.
  if (call === undefined || run === undefined || run.owner !== call.owner) return;
  const content = json === "" ? undefined : parse(json);
  wake(id, call, { __proto__: null, kind, content });
};

/**
 * Nobody will answer any more: the heap was restored or cloned with calls in it.
 * @param {string} message
 */
exports.lose = function lose(message) {
  run = undefined;
  for (const name in GLOBALS) {
    if (ownValue(globalThis, name) === GLOBALS[name]) delete globalThis[name];
  }
  const lost = [];
  mapForEach(pending, (call, id) => {
    push(lost, { __proto__: null, call, id });
  });
  const content = { __proto__: null, message, code: "call_lost", retryable: true };
  for (let i = 0; i < lost.length; i++) {
    then(lost[i].call.promise, undefined, noop); // it may be that nobody listens
    wake(lost[i].id, lost[i].call, { __proto__: null, kind: "error", content });
  }
};

/**
 * @param {unknown} value what an execution has thrown
 * @param {number} id the execution
 * @returns {boolean} whether it is the error of a call of its that was denied
 */
exports.isDenial = (value, id) => weakGet(denials, value) === id;

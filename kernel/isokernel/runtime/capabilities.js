"use strict";
// Calls for what is beyond the context: modules, network, files. The context can do none of it;
// whoever holds it (the server, or a notebook's kernel) decides by a policy, does it and answers.
// A call goes out as a name, JSON text and perhaps bytes, and so does its answer come back. Of
// those that wait for answers there are only so many at a time, the others wait for their turn.

const { ArrayBuffer, Error, Map, Promise, defineProperty, keys, mapDelete, mapForEach, mapGet,
  mapKeys, mapNext, mapSet, mapSize, parse, push, then, toJson, typedCopy, typedLength } =
  require("intrinsics");
const { owner } = require("owner");

const noop = () => {};
const begun = new Map(); // calls that are out, by id
const waiting = new Map(); // those whose turn comes, in order
let calls = 0;
let bytes = 0; // of data, with the calls that are out

// -- one call -------------------------------------------------------------------------------

/**
 * Asks for something, and goes on meanwhile.
 * @param {string} name a capability, a dot, and what to do with it: "net.open"
 * @param {object} [args] plain data
 * @param {Uint8Array} [data] bytes that go with it; must not be changed until the answer comes
 * @param {() => void} [unwanted] called when a value comes after the execution was stopped, which
 *   nobody gets: ends what the call has begun
 * @returns {Promise<{value: unknown, data: ArrayBuffer | undefined}>} rejected with an Error that
 *   has a `code`; of what no policy allows, its name is CapabilityDeniedError
 */
exports.call = function ask(name, args, data, unwanted) {
  const call = { __proto__: null, promise: undefined, wake: undefined, answer: undefined,
    dropped: false, unwanted };
  call.promise = send(call, name, args, data);
  return call.promise;
};

/**
 * Asks for something, and waits for it: for `require` and `readFileSync`. An interrupt and the
 * deadline end the wait.
 * @param {string} name as for call, and so the rest
 * @param {object} [args]
 * @param {Uint8Array} [data]
 * @returns {{value: unknown, data: ArrayBuffer | undefined}}
 */
exports.callNow = function askNow(name, args, data) {
  const json = textOf(args);
  check(name, json, data);
  calls += 1;
  const answer = host.callNow(calls, name, json, owner(), data);
  return open(answerOf(answer[0], answer[1], answer[2]));
};

const textOf = (args) => (args === undefined ? "{}" : toJson(args));

function check(name, json, data) {
  const size = json.length + (data === undefined ? 0 : typedLength(data));
  const max = host.callLimits.bytes;
  if (size > max) {
    const message = `${name}: arguments and data have ${size} bytes, ${max} are allowed`;
    throw errorOf({ __proto__: null, message, code: "data_too_large" });
  }
  return size;
}

async function send(call, name, args, data) {
  call.name = name;
  call.json = textOf(args);
  call.size = check(name, call.json, data);
  call.data = data;
  call.owner = owner();
  call.id = ++calls;
  const answered = new Promise((resolve) => {
    call.wake = resolve;
  });
  if (mapSize(waiting) === 0 && fits(call)) begin(call);
  else {
    if (data !== undefined) call.data = typedCopy(data);
    mapSet(waiting, call.id, call);
  }
  await answered;
  return open(call.answer);
}

// Twice what one call may have, so that the largest one goes beside those that wait for long.
function fits(call) {
  const { calls: callsMax, bytes: bytesMax } = host.callLimits;
  return mapSize(begun) < callsMax && bytes + call.size <= 2 * bytesMax;
}

function begin(call) {
  const { id, name, json, data } = call;
  call.json = call.data = undefined;
  mapSet(begun, id, call);
  bytes += call.size;
  const refused = host.beginCall(id, name, json, call.owner, data);
  if (refused !== undefined) end(call, answerOf("error", refused));
}

function end(call, answer) {
  if (mapDelete(begun, call.id)) bytes -= call.size;
  if (call.dropped) {
    if (answer.kind === "value") call.unwanted?.();
    return;
  }
  mapDelete(waiting, call.id);
  call.answer = answer;
  call.wake();
}

// -- its answer -----------------------------------------------------------------------------

const answerOf = (kind, json, data) =>
  ({ __proto__: null, kind, content: json === "" ? undefined : parse(json), data });

/** Gives what a call has come to; runs where V8 knows who awaits it, for the stack trace. */
function open({ kind, content, data }) {
  if (kind !== "value") throw errorOf(content);
  return { __proto__: null, value: content, data };
}

function errorOf(fields) {
  const error = new Error(fields.message);
  const names = keys(fields);
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    if (name === "message" || name === "stack") continue;
    defineProperty(error, name, { __proto__: null, value: fields[name], writable: true,
      enumerable: name !== "name", configurable: true });
  }
  return error;
}

// -- for the host ---------------------------------------------------------------------------

exports.host = {
  __proto__: null,

  /**
   * A call is answered.
   * @param {number} id
   * @param {"value" | "error"} kind
   * @param {string} json the value, or the error's fields
   * @param {ArrayBuffer} [data]
   */
  settle(id, kind, json, data) {
    const call = mapGet(begun, id);
    if (call === undefined) return;
    end(call, answerOf(kind, json, data));
    while (mapSize(waiting) > 0) {
      const next = mapGet(waiting, mapNext(mapKeys(waiting)).value);
      if (!fits(next)) break;
      mapDelete(waiting, next.id);
      begin(next);
    }
  },

  /** Whether an execution waits for answers. */
  holds(id) {
    let found = false;
    const look = (call) => {
      found ||= call.owner === id && !call.dropped;
    };
    mapForEach(begun, look);
    mapForEach(waiting, look);
    return found;
  },

  /**
   * An execution was stopped: its code doesn't go on, so its calls get no answers.
   * @param {number} id the execution
   * @returns {string} the ids of those that are out, as a JSON array, for whoever is to end them;
   *   each counts towards the limits until it is settled
   */
  drop(id) {
    const mine = [];
    const out = [];
    const look = (call) => {
      if (call.owner === id && !call.dropped) push(mine, call);
    };
    mapForEach(begun, look);
    mapForEach(waiting, look);
    for (let i = 0; i < mine.length; i++) {
      const call = mine[i];
      call.dropped = true;
      if (!mapDelete(waiting, call.id)) push(out, call.id);
    }
    return toJson(out);
  },

  /**
   * Nobody will answer any more: the heap was restored or cloned with calls in it.
   * @param {string} message
   */
  lose(message) {
    const lost = [];
    mapForEach(begun, (call) => push(lost, call));
    mapForEach(waiting, (call) => push(lost, call));
    // Of those that were dropped nobody is told, as before.
    const content = { __proto__: null, message, code: "call_lost", retryable: true };
    for (let i = 0; i < lost.length; i++) {
      then(lost[i].promise, undefined, noop); // it may be that nobody listens
      end(lost[i], { __proto__: null, kind: "error", content });
    }
  },
};

/** @returns {ArrayBuffer | undefined} one for data that has come; undefined if it has no room */
exports.makeBuffer = function makeBuffer(size) {
  try {
    return new ArrayBuffer(size);
  } catch {
    return undefined;
  }
};

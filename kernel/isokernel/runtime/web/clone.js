"use strict";
const { exec } = require("intrinsics");
const { DOMException } = require("web/exception");
const { cloners, dictionary, requireArguments } = require("web/idl");

// DOMException and QuotaExceededError: with them alone nothing is searched for objects of others.
const BASIC = 2;
const REFUSAL = /\bcloned\b/; // what V8 says of what it can't clone, in a plain Error

const notCloneable = (message) => new DOMException(message, "DataCloneError");

/** Copy a value as the HTML standard says. */
function structuredClone(value, options) {
  requireArguments(arguments.length, 1, "structuredClone");
  const transfer = dictionary(options, "structuredClone").transfer;
  return cloneWithPorts(value, transfer).value;
}

/**
 * Copy a value for another reader.
 *
 * @param {unknown} value
 * @param {Iterable<object>} [transfer] buffers and ports that are moved instead of copied
 * @returns {{value: unknown, ports: object[]}} the copy, and the ports that were moved
 */
function cloneWithPorts(value, transfer) {
  const list = toTransferList(transfer);
  const places = new Map();
  const end = list.includes(value) ? () => places.get(value) : copyOf(value, list);
  const ports = [];
  // A transferred buffer was copied with the rest; what remains is to detach the original. The
  // value being the buffer itself, which is the common case, nothing is copied at all.
  for (const item of list) {
    if (item instanceof ArrayBuffer) {
      const moved = detach(item);
      if (item === value) places.set(item, moved);
    } else {
      const moved = require("web/messaging").move(item);
      ports.push(moved);
      places.set(item, moved);
    }
  }
  return { value: end(places), ports };
}

/** Copies a value; what it gives returns the copy, once it is told where what was moved is. */
function copyOf(value, list) {
  if (typeof value !== "object" && typeof value !== "function" && typeof value !== "symbol") {
    return () => value;
  }
  if (cloners.size > BASIC && typeof value === "object" && value !== null) {
    const { hasPlatformObjects, read } = require("web/clone_graph");
    if (hasPlatformObjects(value, clonerOf)) {
      const moved = new Set(list.filter((item) => !(item instanceof ArrayBuffer)));
      return read(value, { clonerOf, moved, clone: copyByV8, refuse });
    }
  } else if (typeof value === "object" && value !== null) {
    const clone = clonerOf(value);
    if (clone) {
      const copy = clone(value);
      return () => copy;
    }
  }
  const copy = copyByV8(value);
  return () => copy;
}

function refuse(value) {
  throw notCloneable(`${value.constructor?.name} object could not be cloned.`);
}

function copyByV8(value) {
  try {
    return host.clone(value);
  } catch (error) {
    // What one of the user's getters has thrown passes through.
    if (!Error.isError(error) || exec(REFUSAL, `${error.message}`) === null) throw error;
    throw notCloneable(error.message);
  }
}

function clonerOf(value) {
  let found;
  for (const [Class, clone] of cloners) {
    // The last one that matches is the most derived: base classes are defined first.
    if (value instanceof Class && value !== Class.prototype) found = clone;
  }
  return found;
}

function toTransferList(transfer) {
  if (transfer === undefined) return [];
  const list = [...transfer];
  for (const [index, item] of list.entries()) {
    if (item instanceof ArrayBuffer) {
      if (item.detached) throw notCloneable(`ArrayBuffer at index ${index} is already detached.`);
      continue;
    }
    const { isDetached, isPort } = require("web/messaging");
    if (!isPort(item)) {
      throw notCloneable(`Value at index ${index} does not have a transferable type.`);
    }
    if (isDetached(item)) {
      throw notCloneable(`MessagePort at index ${index} is already detached.`);
    }
  }
  if (new Set(list).size < list.length) {
    throw notCloneable("The transfer list has an object twice.");
  }
  return list;
}

function detach(buffer) {
  try {
    return buffer.transfer();
  } catch (error) {
    // A WebAssembly memory's buffer, for one.
    throw notCloneable(error.message);
  }
}

module.exports = { cloneWithPorts, structuredClone };

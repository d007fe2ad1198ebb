"use strict";
const { DOMException } = require("web/exception");
const { cloners, dictionary, requireArguments } = require("web/idl");

const notCloneable = (message) => new DOMException(message, "DataCloneError");

/**
 * Copy a value as the HTML standard says.
 *
 * The work is V8's serializer's. It knows nothing of the platform's own classes, which are
 * plain JavaScript here, so those are looked after only when they are the value itself.
 */
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
  let copy = list.includes(value) ? undefined : copyOf(value);
  const ports = [];
  // A transferred buffer was copied with the rest; what remains is to detach the original. The
  // value being the buffer itself, which is the common case, nothing is copied at all.
  for (const item of list) {
    const moved = item instanceof ArrayBuffer ? detach(item) : require("web/messaging").move(item);
    if (!(item instanceof ArrayBuffer)) ports.push(moved);
    if (item === value) copy = moved;
  }
  return { value: copy, ports };
}

function copyOf(value) {
  if (typeof value === "object" && value !== null) {
    const clone = clonerOf(value);
    if (clone === null) {
      throw notCloneable(`${value.constructor?.name} object could not be cloned.`);
    }
    if (clone) return clone(value);
  } else if (typeof value !== "function" && typeof value !== "symbol") {
    return value;
  }
  try {
    return host.clone(value);
  } catch (error) {
    throw notCloneable(error?.message ?? `${error}`);
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

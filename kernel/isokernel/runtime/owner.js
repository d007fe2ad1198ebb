"use strict";
// Whose output is it? The owner is the id of the execution whose code runs now. V8 carries it
// over awaits and promise reactions in the "continuation preserved embedder data"; timers and
// comms set it for their callbacks.

const { apply } = require("intrinsics");
const { getContinuationPreservedEmbedderData, setContinuationPreservedEmbedderData } = host.extras;

// For code that has lost its owner: reactions of promises that were made outside any cell.
let latest = 0;

// What V8 carries: the id or, where there are AsyncLocalStorages, an object with the id and what
// they hold. It isn't changed once it is made.
const NONE = [];

/** @returns {number} the id of the execution that the running code belongs to */
exports.owner = function owner() {
  const carried = getContinuationPreservedEmbedderData();
  if (typeof carried === "object" && carried !== null) return carried.owner;
  return carried === undefined ? latest : carried;
};

/** @returns {number | object} what timers remember, for `runAs` */
exports.carried = () => getContinuationPreservedEmbedderData() ?? latest;

/** What AsyncLocalStorages hold where the running code was started: [storage, value] each. */
exports.stores = {
  get: () => getContinuationPreservedEmbedderData()?.stores ?? NONE,
  set(list) {
    const id = exports.owner();
    setContinuationPreservedEmbedderData(
      list.length === 0 ? id : { __proto__: null, owner: id, stores: list });
  },
};

/** Calls a function while AsyncLocalStorages hold these values. */
exports.runWith = function runWith(list, callback, args) {
  const before = getContinuationPreservedEmbedderData();
  exports.stores.set(list);
  try {
    return apply(callback, undefined, args);
  } finally {
    setContinuationPreservedEmbedderData(before);
  }
};

/** @param {number} id the execution to which everything that runs from now on belongs */
exports.setOwner = function setOwner(id) {
  latest = id;
  setContinuationPreservedEmbedderData(id);
};

/**
 * Runs a callback as part of an execution that may be long over.
 * @param {number | object} id or what was carried
 * @param {Function} callback
 * @param {unknown[]} args
 */
exports.runAs = function runAs(id, callback, args) {
  const before = getContinuationPreservedEmbedderData();
  setContinuationPreservedEmbedderData(id);
  try {
    return apply(callback, undefined, args);
  } finally {
    setContinuationPreservedEmbedderData(before);
  }
};

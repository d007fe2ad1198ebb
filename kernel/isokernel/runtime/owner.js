"use strict";
// Whose output is it? The owner is the id of the execution whose code runs now. V8 carries it
// over awaits and promise reactions in the "continuation preserved embedder data"; timers and
// comms set it for their callbacks.

const { apply } = require("intrinsics");
const { getContinuationPreservedEmbedderData, setContinuationPreservedEmbedderData } = host.extras;

// For code that has lost its owner: reactions of promises that were made outside any cell.
let latest = 0;

/** @returns {number} the id of the execution that the running code belongs to */
exports.owner = function owner() {
  const id = getContinuationPreservedEmbedderData();
  return id === undefined ? latest : id;
};

/** @param {number} id the execution to which everything that runs from now on belongs */
exports.setOwner = function setOwner(id) {
  latest = id;
  setContinuationPreservedEmbedderData(id);
};

/**
 * Runs a callback as part of an execution that may be long over.
 * @param {number} id
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

"use strict";
// node:worker_threads: this is the one thread.

const { refusedClass } = require("node/stubs");

const data = new Map();

module.exports = {
  BroadcastChannel: refusedClass("worker_threads", "BroadcastChannel"),
  MessageChannel,
  MessagePort,
  SHARE_ENV: Symbol.for("nodejs.worker_threads.SHARE_ENV"),
  Worker: refusedClass("worker_threads", "Worker"),
  getEnvironmentData: (key) => data.get(key),
  isMainThread: true,
  isMarkedAsUntransferable: () => false,
  markAsUncloneable() {},
  markAsUntransferable() {},
  parentPort: null,
  receiveMessageOnPort: () => undefined,
  resourceLimits: {},
  setEnvironmentData: (key, value) => data.set(key, value),
  threadId: 0,
  workerData: null,
};

"use strict";
// node:v8: nothing of it but the version; values are copied by structuredClone.

const { refusedFunction } = require("node/stubs");

const names = ["deserialize", "getHeapSnapshot", "getHeapSpaceStatistics", "getHeapStatistics",
  "serialize", "startupSnapshot", "takeCoverage", "writeHeapSnapshot"];

module.exports = {
  ...Object.fromEntries(names.map((name) => [name, refusedFunction("v8", name)])),
  cachedDataVersionTag: () => 0,
  setFlagsFromString() {},
};

"use strict";
// node:stream: the package's, whose promises are added to it as Node.js has them.

const { stream, streamPromises } = require("vendor/node/core");

Object.defineProperty(stream, "promises", {
  value: streamPromises, writable: true, enumerable: true, configurable: true,
});

module.exports = stream;

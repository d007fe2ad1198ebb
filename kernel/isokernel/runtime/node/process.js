"use strict";
// node:process, and the process of the modules of Node.js's that are bundled.

module.exports = globalThis.process;

"use strict";
// node:tty: there is no terminal.

const { refusedClass } = require("node/stubs");

module.exports = { ReadStream: refusedClass("tty", "ReadStream"),
  WriteStream: refusedClass("tty", "WriteStream"), isatty: () => false };

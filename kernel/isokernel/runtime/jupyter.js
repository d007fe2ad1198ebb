"use strict";
// The Jupyter global: what has to do with the front end and isn't a global of its own.

const { globals } = require("display");
const { getpass } = require("dialogs");
const heaps = require("heaps");
const { Comm, registerTarget, unregisterTarget } = require("comms");

exports.Jupyter = {
  display: globals.display,
  updateDisplay: globals.updateDisplay,
  clearOutput: globals.clearOutput,
  getpass,
  Comm,
  ...heaps.methods,
  comms: { registerTarget, unregisterTarget },
};

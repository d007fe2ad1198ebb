"use strict";
// The Jupyter global: what has to do with the front end and isn't a global of its own.

const { globals } = require("display");
const { getpass } = require("dialogs");
const heaps = require("heaps");
const { Comm, registerTarget, unregisterTarget } = require("comms");

const BLANK = "<!DOCTYPE html><html><head></head><body></body></html>";
let ownDocument;

function getDocument() {
  ownDocument ??= require("vendor/document").parseHTML(BLANK).document;
  return ownDocument;
}

exports.Jupyter = {
  /** A document for libraries that want one, empty at first; made when it is first asked for. */
  get document() {
    return getDocument();
  },
  /**
   * Gives the context what a page has: `window`, `document`, `DOMParser` and the rest, for
   * libraries that only run in browsers.
   */
  dom() {
    require("page").install(getDocument());
  },
  display: globals.display,
  updateDisplay: globals.updateDisplay,
  clearOutput: globals.clearOutput,
  getpass,
  Comm,
  /** What code may do beyond its context, and what it has asked for so far. */
  async capabilities() {
    return (await require("capabilities").call("capabilities.show")).value;
  },
  ...heaps.methods,
  packages: () => require("modules").packages(),
  comms: { registerTarget, unregisterTarget },
};

"use strict";
// node:querystring: the vendored module has no names for how it escapes.

const { querystring } = require("vendor/node/core");
const { decodeURIComponent, encodeURIComponent, unescape } = globalThis;

function unescapeText(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return unescape(text);
  }
}

const unescapeBuffer = (text) => require("node/buffer").Buffer.from(unescape(text), "latin1");

module.exports = { ...querystring, escape: encodeURIComponent, unescape: unescapeText,
  unescapeBuffer };

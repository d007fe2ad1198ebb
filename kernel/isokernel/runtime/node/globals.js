"use strict";
// Globals of Node.js and of browsers that packages look for.

const lazily = {
  get Buffer() {
    return require("node/buffer").Buffer;
  },
  get require() {
    return require("commonjs").requireOf("");
  },
  global: globalThis,
  navigator: Object.freeze({
    hardwareConcurrency: 1, language: "en-US", languages: Object.freeze(["en-US"]),
    onLine: false, platform: "Linux x86_64", userAgent: "isokernel",
  }),
  self: globalThis,
};

module.exports = lazily;

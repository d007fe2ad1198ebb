export const { AbortController } = require("web/abort");
export const { DOMException } = require("web/exception");

// Node.js's zlib, in JavaScript.
export { default } from "@jspm/core/nodelibs/zlib";

// Node.js's punycode.
export { default } from "@jspm/core/nodelibs/punycode";

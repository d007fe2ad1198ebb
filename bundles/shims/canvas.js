// linkedom draws with the package `canvas` of Node.js where it finds it; there is none here.
export { createCanvas } from "../../node_modules/linkedom/commonjs/canvas-shim.cjs";

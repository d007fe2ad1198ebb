// Parses a cell whose declarations clash with those of earlier cells (typescript/redeclare.js).
export { getLineInfo, parse } from "acorn";

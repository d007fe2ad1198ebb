"use strict";
// The body of a function as a cell: where the last statement is the only `return`, its value is
// the cell's.

const { parse } = require("vendor/acorn");

const COMMA = "0,    "; // as long as what it stands for
const OPTIONS = {
  ecmaVersion: "latest",
  sourceType: "script",
  allowReturnOutsideFunction: true,
  allowAwaitOutsideFunction: true,
  allowHashBang: false,
};

/** Whether a statement may return from the body that it is in. */
function returns(node) {
  if (typeof node?.type !== "string") return Array.isArray(node) && node.some(returns);
  if (node.type === "ReturnStatement") return true;
  // No expression holds a statement, but those of functions and classes, which have their own.
  if (/Function|Class|Expression$|Declaration$/.test(node.type)) return false;
  return Object.values(node).some(returns);
}

/**
 * @param {string} code JavaScript, the body of an async function
 * @returns {string | undefined} a cell, each place where it was; undefined when it can't be one
 */
exports.withoutReturn = function withoutReturn(code) {
  let statements;
  try {
    statements = parse(code, OPTIONS).body;
  } catch {
    return undefined;
  }
  const last = statements.at(-1);
  if (last?.type !== "ReturnStatement" || last.argument === null) return undefined;
  if (statements.slice(0, -1).some(returns)) return undefined;
  return code.slice(0, last.start) + COMMA + code.slice(last.start + COMMA.length);
};

"use strict";
// Decorators and `accessor`, which V8 doesn't know yet, as what it knows: by TypeScript, which
// takes a third of a second to load and is loaded for the first cell that needs it.

const ts = require("vendor/typescript");

const { SyntaxKind } = ts;
const DECORATED = new Set([
  SyntaxKind.ClassDeclaration,
  SyntaxKind.ClassExpression,
  SyntaxKind.MethodDeclaration,
  SyntaxKind.GetAccessor,
  SyntaxKind.SetAccessor,
  SyntaxKind.PropertyDeclaration,
]);
const UNDECORATED = new Set([SyntaxKind.DeclareKeyword, SyntaxKind.AbstractKeyword]);
const OPTIONS = {
  target: ts.ScriptTarget.ES2022, // ESNext is left to the engine, decorators too
  module: ts.ModuleKind.ESNext,
  alwaysStrict: false, // cells are sloppy
  sourceMap: true,
  inlineSources: false,
};
// Uses whatever lowered code calls.
const ALL_HELPERS = `begin();
@d class A { @d [k]() {} static #p = 1; static { this.#p = #p in A; this.#p; } }
const f = @d class {};
{ using a = null; await using b = null; }
`;

const parse = (code) =>
  ts.createSourceFile("/cell.ts", code, { languageVersion: ts.ScriptTarget.ESNext }, true);

/** What is wrong at some place, as SWC says it. */
function problem(file, message, start, length) {
  const from = file.getLineAndCharacterOfPosition(start);
  const to = file.getLineAndCharacterOfPosition(start + length);
  return {
    message,
    code: "",
    line: from.line + 1,
    column: from.character,
    endLine: to.line + 1,
    endColumn: to.character,
  };
}

/** Whether a decorator may stand where it does. */
function isDecorated({ kind, modifiers, parent }) {
  const isMember = kind === SyntaxKind.MethodDeclaration || kind === SyntaxKind.GetAccessor ||
    kind === SyntaxKind.SetAccessor;
  if (isMember && parent.kind === SyntaxKind.ObjectLiteralExpression) return false;
  return DECORATED.has(kind) && !modifiers.some((one) => UNDECORATED.has(one.kind));
}

/** Goes through a file: whether it has what is to be lowered, and the first thing refused. */
function look(file) {
  const found = { lowers: false, returns: false, refused: undefined };
  const visit = (node, isBody) => {
    if (node.kind === SyntaxKind.AccessorKeyword) found.lowers = true;
    if (node.kind === SyntaxKind.Decorator) {
      found.lowers = true;
      if (!isDecorated(node.parent)) found.refused ??= node;
    }
    if (isBody && ts.isReturnStatement(node)) found.returns = true;
    const isInner = ts.isFunctionLike(node) || ts.isClassStaticBlockDeclaration(node);
    ts.forEachChild(node, (child) => visit(child, isBody && !isInner));
  };
  visit(file, true);
  return found;
}

/**
 * `using` at the top level is never disposed of, as its name outlives the cell: it is a
 * constant here. Lowered, its name would be gone after the cell.
 */
function withoutUsing(file) {
  let code = file.text;
  for (const { declarationList } of file.statements) {
    if (declarationList === undefined) continue;
    const flags = declarationList.flags & ts.NodeFlags.BlockScoped;
    if (flags !== ts.NodeFlags.Using && flags !== ts.NodeFlags.AwaitUsing) continue;
    const start = declarationList.getStart(file);
    const end = declarationList.declarations[0].getStart(file);
    // Lines and columns stay, comments go.
    const keyword = code.slice(start, end).replace(/[^\n]/g, " ");
    code = `${code.slice(0, start)}const${keyword.slice(5)}${code.slice(end)}`;
  }
  return code;
}

/** The functions that lowered code calls: a script, whose value is an object of them. */
let helpers;
function makeHelpers() {
  const { outputText } = ts.transpileModule(ALL_HELPERS, { compilerOptions: OPTIONS });
  const text = outputText.slice(0, outputText.indexOf("begin();"));
  const names = Array.from(text.matchAll(/^var (__\w+) =/gm), ([, name]) => name);
  return `(() => {${text}\nreturn { ${names.join(", ")} }; })()`;
}

/**
 * Lowers TypeScript, or JavaScript, to what V8 knows.
 * @param {string} code
 * @param {string} head what is put before it if it returns, so that it can
 * @param {string} tail likewise, behind it
 * @returns {object} code, map, helpers and whether it was wrapped; or the error; nothing, if
 *   there is no decorator and no `accessor` in it
 */
exports.lower = function lower(code, head, tail) {
  let file = parse(code);
  const { lowers, returns, refused } = look(file);
  if (!lowers) return {};
  if (refused !== undefined) {
    const message = refused.parent.kind === SyntaxKind.Parameter
      ? "Parameter decorators aren't supported: standard JavaScript has none"
      : "Decorators are not valid here";
    const start = refused.getStart(file);
    return { error: problem(file, message, start, refused.end - start) };
  }
  const [wrong] = file.parseDiagnostics;
  if (wrong !== undefined) {
    const message = ts.flattenDiagnosticMessageText(wrong.messageText, "\n").replace(/\.$/, "");
    return { error: problem(file, message, wrong.start, wrong.length) };
  }
  const wrapped = returns && head !== "";
  const text = wrapped ? head + code + tail : withoutUsing(file);
  file = undefined;
  const { outputText, sourceMapText } = ts.transpileModule(text, {
    fileName: "/cell.ts",
    compilerOptions: { ...OPTIONS, noEmitHelpers: true },
  });
  helpers ??= makeHelpers();
  const end = outputText.lastIndexOf("\n//# sourceMappingURL=");
  return { code: outputText.slice(0, end), map: sourceMapText, helpers, wrapped };
};

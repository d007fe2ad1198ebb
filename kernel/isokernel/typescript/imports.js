"use strict";
// A cell with import or export statements, which V8's REPL refuses, as two texts: the import
// statements by themselves, for a module whose names the REPL is given, and all else, with
// blanks in the place of what was taken out. Every place stays where it was.

const { getLineInfo, parse } = require("vendor/acorn");

const META = "importMeta$"; // as long as `import.meta`
const VALUE = "0,"; // so that what follows is an expression
const LINE_PARTS = /[^\n\r\u2028\u2029]/g;

const OPTIONS = {
  ecmaVersion: "latest",
  sourceType: "script", // so that sloppy code may import, too
  allowImportExportEverywhere: true,
  allowReturnOutsideFunction: true,
  allowAwaitOutsideFunction: true,
  allowHashBang: false,
};

const blank = (text) => text.replace(LINE_PARTS, " ");

/** A blank statement, which also ends the one before it as the import did. */
const gap = (text) => `;${blank(text.slice(1))}`;

const nameOf = (node) => (node.type === "Literal" ? node.value : node.name);

function attributesOf(statement) {
  const attributes = {};
  for (const { key, value } of statement.attributes ?? []) attributes[nameOf(key)] = value.value;
  return attributes;
}

/** Names that a program may use as values: some too many, as scopes aren't told apart. */
function* usedNames(node, parent, key) {
  if (node.type === "Identifier") {
    const isKey = (parent.type === "MemberExpression" && key === "property") ||
      (/Property|MethodDefinition/.test(parent.type) && key === "key" && !parent.shorthand);
    if (!isKey || parent.computed) yield node.name;
    return;
  }
  if (node.type === "ImportDeclaration") return;
  for (const name in node) {
    const value = node[name];
    if (Array.isArray(value)) {
      for (const item of value) if (item?.type) yield* usedNames(item, node, name);
    } else if (value?.type) yield* usedNames(value, node, name);
  }
}

function* metaProperties(node) {
  if (node.type === "MetaProperty" && node.meta.name === "import") yield node;
  for (const name in node) {
    const value = node[name];
    if (Array.isArray(value)) {
      for (const item of value) if (item?.type) yield* metaProperties(item);
    } else if (value?.type) yield* metaProperties(value);
  }
}

/** The first import or export statement within another statement, where V8 knows none. */
function nested(node) {
  for (const name in node) {
    const value = node[name];
    for (const item of Array.isArray(value) ? value : [value]) {
      if (!item?.type) continue;
      const isTop = node.type === "Program";
      if (!isTop && /^(?:Import|Export)\w*Declaration$/.test(item.type)) return item;
      const found = nested(item);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** Puts the two texts together, statement by statement. */
class Splitter {
  #code;
  #body;
  #imports;
  statements = [];

  constructor(code) {
    this.#code = code;
    this.#body = code;
    this.#imports = blank(code);
  }

  #put(start, end, text) {
    this.#body = this.#body.slice(0, start) + text + this.#body.slice(end);
  }

  #place({ start, end }) {
    const { line, column } = getLineInfo(this.#code, start);
    return { start, end, line, column };
  }

  #move(statement, text) {
    const { start, end } = statement;
    this.#imports = this.#imports.slice(0, start) + text.padEnd(end - start) +
      this.#imports.slice(end);
    this.#put(start, end, gap(this.#code.slice(start, end)));
    const names = (statement.type === "ImportDeclaration" ? statement.specifiers : [])
      .map((node) => ({ ...this.#place(node), name: node.local.name }));
    this.statements.push({
      ...this.#place(statement.source),
      span: [start, end],
      specifier: statement.source.value,
      attributes: attributesOf(statement),
      names,
    });
  }

  add(statement) {
    const { start, end, declaration, source } = statement;
    if (statement.type === "ImportDeclaration") this.#move(statement, this.#code.slice(start, end));
    // What a cell exports is seen by nobody: only that the module is loaded matters.
    else if (source) this.#move(statement, `import ${this.#code.slice(source.start, end)}`);
    else if (statement.type === "ExportNamedDeclaration") {
      const from = declaration ? declaration.start : end;
      const text = this.#code.slice(start, from);
      this.#put(start, from, declaration ? blank(text) : gap(text));
    } else if (statement.type === "ExportDefaultDeclaration") {
      const text = blank(this.#code.slice(start, declaration.start));
      const isNamed = /Declaration$/.test(declaration.type) && declaration.id;
      this.#put(start, declaration.start, isNamed ? text : VALUE + text.slice(VALUE.length));
    }
  }

  replaceMeta({ start, end }) {
    this.#put(start, end, META.padEnd(end - start));
  }

  get texts() {
    return { body: this.#body, imports: this.#imports };
  }
}

/**
 * Splits a cell.
 * @param {string} code JavaScript
 * @returns {string} JSON: body, imports (text), statements, used (names that may be values), and
 *   whether there is an `import.meta`; or what is wrong with it
 */
exports.split = function split(code) {
  let program;
  try {
    program = parse(code, OPTIONS);
  } catch (error) {
    const { line, column } = error.loc ?? { line: 1, column: 0 };
    return JSON.stringify({ error: error.message.replace(/ \(\d+:\d+\)$/, ""), line, column });
  }
  const inner = nested(program);
  if (inner !== undefined) {
    const { line, column } = getLineInfo(code, inner.start);
    const error = inner.type === "ImportDeclaration"
      ? "import statements must be at the top level; here, use await import(…)"
      : "export statements must be at the top level";
    return JSON.stringify({ error, line, column });
  }
  const splitter = new Splitter(code);
  for (const statement of program.body) splitter.add(statement);
  let meta = false;
  for (const node of metaProperties(program)) {
    meta = true;
    splitter.replaceMeta(node);
  }
  const used = [...new Set(usedNames(program, program, ""))];
  return JSON.stringify({ ...splitter.texts, statements: splitter.statements, used, meta });
};

"use strict";
// A name may be declared again in a later cell with another kind. V8 itself allows it for the
// same kind only; here a cell that it refused gets the clashing declarations rewritten to the
// kind that the name has:
//   let    `const a` becomes `let a`; `var a` becomes an assignment, as it would be on a second
//          `var`; a function is moved to the cell's front, `let a = function a…`
//   var    `let a` becomes `var a`, a class `var a = class a…`
//   const  everything becomes `const`, if the cell assigns to the name nowhere else
// What is moved or inserted is told as a list of moves, so that every place stays the user's.

const { getLineInfo, parse } = require("vendor/acorn");

const FIXED = new Set(["undefined", "NaN", "Infinity"]); // `var` would quietly not change them
const OPAQUE = /Function|Class|Expression$/; // no `var` inside is one of the cell's
const WRITES = { AssignmentExpression: "left", UpdateExpression: "argument" };

/** The rewriting can't be done; the reason is one of those that Python has words for. */
class Refusal extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** The nodes directly below a node. */
function children(node) {
  const found = [];
  for (const key in node) {
    const value = node[key];
    if (typeof value !== "object" || value === null) continue;
    if (typeof value.type === "string") found.push(value);
    else if (Array.isArray(value)) found.push(...value.filter((item) => item?.type));
  }
  return found;
}

/** A node and all below it, but not below those that `skip` tells. */
function* descendants(root, skip = () => false) {
  const waiting = [root];
  while (waiting.length > 0) {
    const node = waiting.pop();
    yield node;
    if (node === root || !skip(node)) waiting.push(...children(node));
  }
}

/** The identifiers that a pattern binds or assigns to. */
function* targets(pattern) {
  if (pattern?.type === "Identifier") yield pattern;
  else if (pattern?.type === "Property") yield* targets(pattern.value);
  else if (pattern?.type === "AssignmentPattern") yield* targets(pattern.left);
  else if (/Pattern$|^RestElement$/.test(pattern?.type)) {
    for (const child of children(pattern)) yield* targets(child);
  }
}

const namesOf = (pattern) => Array.from(targets(pattern), ({ name }) => name);
const isLoop = (node) => node.type === "ForInStatement" || node.type === "ForOfStatement";

/** Names that the program assigns to, whatever they mean where that happens. */
function assignedNames(program) {
  const names = new Set();
  for (const node of descendants(program)) {
    const target = isLoop(node) ? node.left : node[WRITES[node.type]];
    for (const name of namesOf(target)) names.add(name);
  }
  return names;
}

/** Text with some ranges replaced, and where each part of it came from. */
class Edits {
  #list = [];

  /**
   * Puts parts in the place of a range: text, text that counts as being elsewhere, and
   * ranges `[start, end]` of the source.
   */
  replace(start, end, ...parts) {
    this.#list.push({ start, end, parts });
  }

  insert(at, ...parts) {
    this.replace(at, at, ...parts);
  }

  /** Inserts before what else was inserted there. */
  insertFirst(at, ...parts) {
    this.#list.unshift({ start: at, end: at, parts });
  }

  get some() {
    return this.#list.length > 0;
  }

  /** @returns {{code: string, moves: [number, number, number, number, boolean][]}} */
  apply(source) {
    const moves = [];
    let code = "";
    const put = (text, from, inserted) => {
      if (text === "") return;
      const { line, column } = getLineInfo(code, code.length);
      const origin = getLineInfo(source, from);
      moves.push([line, column, origin.line, origin.column, inserted]);
      code += text;
    };
    const copy = (start, end) => put(source.slice(start, end), start, false);
    let done = 0;
    // What is inserted where a replaced range begins comes before it.
    const list = this.#list.toSorted((a, b) => a.start - b.start || a.end - b.end);
    for (const { start, end, parts } of list) {
      copy(done, start);
      for (const part of parts) {
        if (typeof part === "string") put(part, start, true);
        else if (part.text) put(part.text, part.from, true);
        else copy(...part);
      }
      done = end;
    }
    copy(done, source.length);
    return { code, moves };
  }
}

/** Rewrites one program. */
class Rewriter {
  #program;
  #kinds;
  #edits = new Edits();
  #functions = new Map(); // name to declaration; the last one of a name is the one
  #resets = new Set();
  #variables = new Set();
  #strict;
  #assigned;

  /** @param {Map<string, "let" | "reset" | "var" | "const">} kinds of the clashing names */
  constructor(program, kinds) {
    this.#program = program;
    this.#kinds = kinds;
    this.#strict = program.body.some(({ directive }) => directive === "use strict");
  }

  rewrite(source) {
    for (const [name, kind] of this.#kinds) {
      if (kind === "var" && FIXED.has(name)) throw new Refusal("fixed");
    }
    for (const statement of this.#program.body) this.#topLevel(statement);
    this.#writeFront();
    if (!this.#edits.some) throw new Refusal("unknown");
    return this.#edits.apply(source);
  }

  #topLevel(statement) {
    if (statement.type === "VariableDeclaration") this.#declaration(statement);
    else if (statement.type === "ClassDeclaration") this.#class(statement);
    else if (statement.type === "FunctionDeclaration") this.#function(statement);
    else this.#nested(statement);
  }

  /** The one kind that the clashing ones of these names have; undefined if none clashes. */
  #kindOf(names) {
    const kinds = new Set();
    for (const name of names) {
      const kind = this.#kinds.get(name);
      if (kind !== undefined) kinds.add(kind === "reset" ? "let" : kind);
    }
    if (kinds.size > 1) throw new Refusal("mixed");
    return kinds.values().next().value;
  }

  #requireConstant(names) {
    this.#assigned ??= assignedNames(this.#program);
    if (names.some((name) => this.#assigned.has(name))) throw new Refusal("constant");
  }

  /** Each declarator gets the keyword that it needs, by cutting the statement in pieces. */
  #declaration(node) {
    let keyword;
    let end;
    for (const declarator of node.declarations) {
      const wanted = this.#keyword(node.kind, declarator);
      if (keyword === undefined) {
        const { start, kind } = node;
        const text = wanted.padEnd(kind.length); // so that columns mostly stay
        if (wanted !== kind) this.#edits.replace(start, start + kind.length, text);
      } else if (wanted !== keyword) {
        this.#edits.replace(end, declarator.start, `; ${wanted} `);
      }
      keyword = wanted;
      end = declarator.end;
    }
  }

  #keyword(keyword, declarator) {
    const names = namesOf(declarator.id);
    const kind = this.#kindOf(names);
    if (kind === undefined || kind === keyword) return keyword;
    if (keyword.endsWith("using")) throw new Refusal("mixed");
    if (keyword === "var" && (kind === "let" || declarator.init === null)) {
      this.#assignment(declarator, names);
      return keyword;
    }
    if (kind === "const") this.#constant(declarator, names);
    if (declarator.init === null) this.#edits.insert(declarator.end, " = void 0");
    return kind;
  }

  #constant({ id, init }, names) {
    this.#requireConstant(names);
    // An enum, as SWC writes it, adds to the one that it finds: here that is another thing.
    const found = init?.type === "CallExpression" ? init.arguments.at(-1) : undefined;
    if (found?.operator === "||" && found.left.name === id.name) {
      this.#edits.replace(found.left.start, found.left.end, "null");
    }
  }

  /**
   * `a = 1` in a declaration of nothing, which leaves the completion value alone as every
   * declaration does.
   */
  #assignment({ id, init, start, end }, names) {
    if (init === null) {
      if (this.#kindOf(names) === "const") this.#requireConstant(names);
      this.#edits.replace(start, end, "{} = []");
    } else {
      const others = names.filter((name) => !this.#kinds.has(name));
      // Where V8 sees an initialiser begin, there it says that a name in it is unknown.
      this.#edits.insert(start, "{} = ", { text: "[", from: init.start });
      this.#edits.insert(end, ["]", ...others].join(", "));
    }
    this.#reset(names);
  }

  #reset(names) {
    for (const name of names) if (this.#kinds.get(name) === "reset") this.#resets.add(name);
  }

  #class({ id, start, end }) {
    const kind = this.#kindOf([id.name]);
    if (kind === undefined || kind === "let") return;
    if (kind === "const") this.#requireConstant([id.name]);
    this.#edits.insert(start, `${kind} ${id.name} = `);
    this.#edits.insert(end, ";");
  }

  #function(node) {
    const { name } = node.id;
    const kind = this.#kindOf([name]);
    if (kind === undefined || kind === "var") return;
    if (kind === "const") this.#requireConstant([name]);
    this.#functions.delete(name);
    this.#functions.set(name, node);
    this.#edits.replace(node.start, node.end, ";"); // it ends the statement before, too
  }

  /** `var` and hoisted functions inside of other statements. */
  #nested(statement, parent = this.#program) {
    if (statement.type === "VariableDeclaration") {
      if (statement.kind === "var") this.#nestedVar(statement, parent);
    } else if (statement.type === "FunctionDeclaration") {
      this.#nestedFunction(statement, parent);
    } else if (!OPAQUE.test(statement.type)) {
      for (const child of children(statement)) this.#nested(child, statement);
    }
  }

  #nestedVar(node, parent) {
    for (const declarator of node.declarations) {
      const names = namesOf(declarator.id);
      const kind = this.#kindOf(names);
      if (kind === "const") throw new Refusal("constant");
      if (kind !== "let") continue;
      if (isLoop(parent)) this.#loopHead(node, declarator, names);
      else this.#assignment(declarator, names);
    }
  }

  /** `for (var a of …)` becomes `for (a of …)`. */
  #loopHead(node, { id, init }, names) {
    if (init !== null) throw new Refusal("mixed"); // `for (var a = 0 in …)` of old
    this.#edits.replace(node.start, id.start);
    for (const name of names) if (!this.#kinds.has(name)) this.#variables.add(name);
    this.#reset(names);
  }

  /** A function in a block sets the cell's variable as well, in sloppy code. */
  #nestedFunction(node, parent) {
    if (this.#strict || node.async || node.generator) return;
    const { name } = node.id;
    const kind = this.#kindOf([name]);
    if (kind === "const") throw new Refusal("constant");
    if (kind !== "let") return;
    const parts = [`var {} = [${name} = `, ...functionRanges(node), "];"];
    if (parent.type === "BlockStatement") {
      this.#edits.insert(parent.start + 1, ...parts);
      this.#edits.replace(node.start, node.end, ";");
    } else {
      this.#edits.replace(node.start, node.end, ...parts);
    }
    this.#reset([name]);
  }

  #writeFront() {
    const parts = [];
    for (const name of this.#resets) if (!this.#functions.has(name)) parts.push(`let ${name}; `);
    for (const name of this.#variables) parts.push(`var ${name}; `);
    for (const [name, node] of this.#functions) {
      parts.push(`${this.#kindOf([name])} ${name} = `, ...functionRanges(node), "; ");
    }
    if (parts.length === 0) return;
    const first = this.#program.body.find(({ directive }) => directive === undefined);
    this.#edits.insertFirst(first.start, ...parts);
  }
}

/**
 * A function declaration's text as an expression's. The name of a function expression is
 * bound inside it for ever: it is left out where the body means the variable.
 */
function functionRanges({ id, start, end, params, body }) {
  const own = (node) => node.type === "Identifier" && node.name === id.name;
  const recurs = [...params, body].some((part) => descendants(part).some(own));
  return recurs ? [[start, id.start], [id.end, end]] : [[start, end]];
}

/** Where a cell declares a name: line from 1, columns from 0. */
function placeOf(program, name) {
  const isOpaque = ({ type }) => OPAQUE.test(type);
  const found = [];
  for (const node of descendants(program, isOpaque)) {
    if (node.type !== "VariableDeclarator" && !/Declaration$/.test(node.type)) continue;
    for (const target of targets(node.id)) if (target.name === name) found.push(target);
  }
  const first = found.sort((a, b) => a.start - b.start)[0];
  if (first === undefined) return null;
  return [first.loc.start.line, first.loc.start.column, first.loc.end.column];
}

let latest = { source: undefined, program: undefined };
function parsed(source) {
  if (latest.source !== source) {
    const program = parse(source, {
      ecmaVersion: "latest",
      sourceType: "script",
      allowAwaitOutsideFunction: true,
      allowHashBang: true,
      locations: true,
    });
    latest = { source, program };
  }
  return latest.program;
}

/**
 * Rewrites a cell's clashing declarations.
 * @param {string} source
 * @param {string} kinds JSON: a list of names with the kinds that they have
 * @param {string} name the one whose place is asked for
 * @returns {string} JSON: code and moves, or the reason why not; and the name's place
 */
exports.redeclare = function redeclare(source, kinds, name) {
  let place = null;
  try {
    const program = parsed(source);
    place = placeOf(program, name);
    const rewriter = new Rewriter(program, new Map(JSON.parse(kinds)));
    return JSON.stringify({ place, ...rewriter.rewrite(source) });
  } catch (error) {
    return JSON.stringify({ place, reason: error.reason ?? "invalid" });
  }
};

"use strict";
// Modules: what `import` and `import()` give. V8 has the modules themselves, by URL; here is
// what they are made of, and which specifier means which of them. What isn't known is asked of
// whoever holds the capability `modules`, once for all that an import needs; Node.js's built-in
// modules are the runtime's own.

const { ArrayBuffer, Error, Map, Set, SyntaxError, TypeError, decodeUri, defineProperty, exec, filter,
  hasOwn, indexOf, keys, mapClear, mapDelete, mapGet, mapKeys, mapNext, mapSet, ownValue, parse,
  pop, push, replace, resolve, setAdd, setDelete, setHas, setNext, setValues, slice, startsWith, then,
  toJson } = require("intrinsics");
const { owner } = require("owner");
const builtins = require("node/index");

const CELLS = "isokernel:imports/"; // the import statements of a cell
const SHOWN = 200; // characters of a specifier in an error
const TEXT = "#text"; // ends the URL of a module that is a file's text
const ATTRIBUTES = { __proto__: null, integrity: true, type: true };
const TYPES = { __proto__: null, json: true, text: true };
const LACKS = / does not provide an export named | contains conflicting star exports for name /;
const LACKED = /^The requested module '(.*)' does not provide an export named '(.*)'$/s;
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;
const INSTANTIATED = 2; // v8::Module::Status
const PENDING = 0; // a promise's state
const REJECTED = 2;

const records = new Map(); // by URL: what is known of a module
const resolved = new Map(); // URLs by what was asked for, where no module's text says so
const checked = new Set(); // the integrities of imports that were compared
const underWay = new Set(); // imports whose modules are being evaluated
let evaluated = new Set(); // URLs of modules that were, with all that they import
let cells = 0;

// -- which module ---------------------------------------------------------------------------

/** The type that import attributes ask for; "" for none. Throws for others. */
function typeOf(attributes) {
  const names = keys(attributes);
  for (let i = 0; i < names.length; i++) {
    if (!(names[i] in ATTRIBUTES)) {
      throw failure("TypeError", `The import attribute ${toJson(names[i])} is not supported; ` +
        'there are "type" and "integrity"', "ERR_IMPORT_ATTRIBUTE_UNSUPPORTED");
    }
  }
  if (!hasOwn(attributes, "type")) return "";
  if (attributes.type in TYPES) return attributes.type;
  throw failure("TypeError", `Modules of the type ${toJson(attributes.type)} are not ` +
    'supported; there are "json" and "text"', "ERR_IMPORT_ATTRIBUTE_UNSUPPORTED");
}

const CLASSES = { __proto__: null, Error, TypeError, SyntaxError };

function failure(name, message, code) {
  const error = new CLASSES[name](message);
  defineProperty(error, "code", { __proto__: null, value: code, writable: true, enumerable: true,
    configurable: true });
  return error;
}

const keyOf = (referrer, kind, type, specifier) =>
  `${kind === "require" ? "require" : "import"} ${type} ${referrer}\n${specifier}`;

/** The record of a URL, if V8 has the module still. */
function recordOf(url) {
  const record = mapGet(records, url);
  if (record === undefined) return undefined;
  if (record.format === "esm" && host.statusOf(url) < 0) {
    mapDelete(records, url);
    return undefined;
  }
  return record;
}

/** The URL that a specifier means, if that is known. */
function known(referrer, kind, type, specifier) {
  const builtin = builtins.urlOf(specifier);
  if (builtin !== undefined) return add({ url: builtin, format: "builtin" }, "").url;
  const record = mapGet(records, referrer);
  const isOwn = record !== undefined && type === "" &&
    (record.format === "commonjs") === (kind === "require") &&
    hasOwn(importsOf(record), specifier);
  const url = isOwn ? record.imports[specifier]
    : mapGet(resolved, keyOf(referrer, kind, type, specifier));
  return url !== undefined && recordOf(url) !== undefined ? url : undefined;
}

/** What a call of `modules.graph` says. */
function question(wanted, referrer, kind) {
  const have = [];
  const urls = mapKeys(records);
  for (let step = mapNext(urls); !step.done; step = mapNext(urls)) {
    const url = step.value;
    if (!startsWith(url, CELLS) && !builtins.isBuiltin(url) && recordOf(url) !== undefined) {
      push(have, url);
    }
  }
  return { __proto__: null, specifiers: wanted, referrer, kind, known: have };
}

/** Takes the answer: what was asked for by now is known. */
function take({ value: graph, data }, wanted, referrer, kind) {
  const { compile, compiled, imports, modules, roots, values } = graph;
  const problem = host.compileModules(compile, data ?? new ArrayBuffer(0));
  if (problem !== undefined) {
    for (let i = 0; i < compiled.length; i++) {
      if (mapGet(records, compiled[i]) === undefined) host.dropModule(compiled[i]);
    }
    throw problemOf(problem);
  }
  const table = { __proto__: null, text: imports, parsed: undefined };
  for (let i = 0; i < compiled.length; i++) {
    if (mapGet(records, compiled[i]) !== undefined) continue;
    const record = keep({ __proto__: null, url: compiled[i], format: "esm" }, "");
    record.imports = undefined;
    record.table = table;
    record.row = i;
  }
  for (let i = 0; i < modules.length; i++) {
    const module = modules[i];
    if (module.source === undefined) addMade(module);
    else add(module, host.decodeText(data, module.source[0], module.source[1]));
  }
  // CommonJS requires what it names when it runs, if it does.
  for (let i = 0; i < values.length; i++) make(values[i]);
  for (let i = 0; i < wanted.length; i++) {
    const { specifier, attributes } = wanted[i];
    if (!hasOwn(roots, specifier)) {
      throw failure("Error", `${specifier} was not loaded`, "ERR_MODULE_NOT_FOUND");
    }
    const type = typeOf(attributes);
    const url = type === "text" && !isText(roots[specifier]) ? roots[specifier] + TEXT
      : roots[specifier];
    mapSet(resolved, keyOf(referrer, kind, type, specifier), url);
    if (hasOwn(attributes, "integrity")) {
      setAdd(checked, `${attributes.integrity} ${keyOf(referrer, kind, type, specifier)}`);
    }
  }
}

/** Whether what an import says of its module's hash was compared with the module. */
function isChecked(referrer, kind, type, { specifier, attributes }) {
  if (!hasOwn(attributes, "integrity")) return true;
  return setHas(checked, `${attributes.integrity} ${keyOf(referrer, kind, type, specifier)}`);
}

const isText = (url) => url.length > TEXT.length && exec(/#text$/, url) !== null;

/** Says in an error what couldn't be loaded, if it doesn't. */
function named(error, missing) {
  const text = ownValue(error, "message");
  const name = missing.length === 1 ? missing[0].specifier : "";
  if (name !== "" && typeof text === "string" && indexOf(text, name) < 0) {
    const shown = name.length > SHOWN ? `${slice(name, 0, SHOWN)}…` : name;
    error.message = `${shown} can't be loaded: ${text}`;
  }
  return error;
}

/** Finds the URLs of all that is wanted, those that aren't known from outside. */
async function find(wanted, referrer, kind) {
  const missing = unknown(wanted, referrer, kind);
  if (missing.length > 0) {
    const { call } = require("capabilities");
    let graph;
    try {
      graph = await call("modules.graph", question(missing, referrer, kind));
    } catch (error) {
      throw named(error, missing);
    }
    take(graph, missing, referrer, kind);
  }
  return found(wanted, referrer, kind);
}

/** As `find`, at once. */
function findNow(wanted, referrer, kind) {
  const missing = unknown(wanted, referrer, kind);
  if (missing.length > 0) {
    const { callNow } = require("capabilities");
    let graph;
    try {
      graph = callNow("modules.graph", question(missing, referrer, kind));
    } catch (error) {
      throw named(error, missing);
    }
    take(graph, missing, referrer, kind);
  }
  return found(wanted, referrer, kind);
}

function unknown(wanted, referrer, kind) {
  const missing = [];
  for (let i = 0; i < wanted.length; i++) {
    const { specifier, attributes } = wanted[i];
    const type = typeOf(attributes);
    if (known(referrer, kind, type, specifier) === undefined ||
      !isChecked(referrer, kind, type, wanted[i])) {
      push(missing, { __proto__: null, specifier, attributes });
    }
  }
  return missing;
}

function found(wanted, referrer, kind) {
  const urls = [];
  for (let i = 0; i < wanted.length; i++) {
    const { specifier, attributes } = wanted[i];
    const type = typeOf(attributes);
    const url = known(referrer, kind, type, specifier);
    const { format } = mapGet(records, url);
    if (type === "json" && format !== "json") {
      throw failure("TypeError", `${url} is not JSON, as its import says`,
        "ERR_IMPORT_ATTRIBUTE_TYPE_INCOMPATIBLE");
    }
    push(urls, url);
  }
  return urls;
}

// -- modules --------------------------------------------------------------------------------

/** JavaScript of TypeScript. */
function withoutTypes(url, text) {
  const { 0: code, 1: line, 2: column } = host.withoutTypes(url, text);
  if (line === undefined) return code;
  const error = new SyntaxError(code);
  require("stack").place(error, url, line, column);
  throw error;
}

/**
 * Adds a module, unless it is known.
 * @param {object} found what `modules.graph` tells of it
 * @param {string} text
 */
function add(found, text) {
  const { url, format, imports } = found;
  const before = recordOf(url);
  if (before !== undefined) return before;
  let source = text;
  if (found.language === "typescript") source = withoutTypes(url, source);
  if (format === "esm") {
    const problem = host.compileModule(url, source, toJson(imports));
    if (problem !== undefined) throw problemOf(problem);
    source = "";
  }
  return keep(found, source);
}

/** Adds a module that V8 has compiled, or one of the runtime's own. */
function addMade(found) {
  if (mapGet(records, found.url) === undefined) keep(found, "");
}

const NOTHING = { __proto__: null };
const NO_NAMES = [];

function keep({ url, format, imports = NOTHING, exports: names = NO_NAMES,
  reexports = NO_NAMES }, source) {
  const record = { __proto__: null, url, format, imports, source, names, reexports,
    isMade: format === "esm", module: undefined, table: undefined, row: 0 };
  mapSet(records, url, record);
  return record;
}

/**
 * The URLs that a module's specifiers mean. V8 links what it has compiled without them, so they
 * are read when they are wanted: if the module calls `import()`, or is forgotten.
 */
function importsOf(record) {
  if (record.imports === undefined) {
    const { table, row } = record;
    table.parsed ??= parse(table.text);
    table.text = "";
    const { 0: urls, 1: rows } = table.parsed;
    const imports = { __proto__: null };
    const names = keys(rows[row]);
    for (let i = 0; i < names.length; i++) imports[names[i]] = urls[rows[row][names[i]]];
    record.imports = imports;
  }
  return record.imports;
}

function make(url) {
  let record = mapGet(records, url);
  if (record === undefined && builtins.isBuiltin(url)) {
    record = add({ url, format: "builtin" }, "");
  }
  if (record === undefined || record.isMade) return;
  const names = ["default"];
  if (record.format === "builtin") addNames(names, builtins.namesOf(url));
  if (record.format === "commonjs") {
    addNames(names, exportedNames(record, []));
    addNames(names, ["module.exports"]);
  }
  record.names = names;
  host.makeModule(url, toJson(names));
  record.isMade = true;
}

/** The names of a CommonJS module, and of those that it passes on. */
function exportedNames(record, seen) {
  const names = [];
  if (includes(seen, record)) return names;
  push(seen, record);
  addNames(names, record.names);
  for (let i = 0; i < record.reexports.length; i++) {
    const url = record.reexports[i];
    const other = mapGet(records, url);
    if (builtins.isBuiltin(url)) addNames(names, builtins.namesOf(url));
    else if (other?.format === "commonjs") addNames(names, exportedNames(other, seen));
  }
  return names;
}

function addNames(names, more) {
  for (let i = 0; i < more.length; i++) if (!includes(names, more[i])) push(names, more[i]);
}

function includes(list, item) {
  for (let i = 0; i < list.length; i++) if (list[i] === item) return true;
  return false;
}

/**
 * The error of what V8 has to say.
 * @param {unknown[]} problem [error, script, line, column, end column]
 * @param {object} [imports] URLs of what the script imports, if no record has them
 */
function problemOf(problem, imports) {
  const { 1: script, 2: line, 3: column } = problem;
  const record = mapGet(records, script);
  const error = explained(problem[0], imports ?? (record && importsOf(record)));
  if (script !== undefined && line > 0) require("stack").place(error, script, line, column + 1);
  return error;
}

const NAMELESS = { __proto__: null, json: "JSON", text: "a text" };

/** Says what to do where a name is imported of a module that is no ES module and hasn't got it. */
function explained(error, imports) {
  const found = exec(LACKED, ownValue(error ?? PLAIN, "message"));
  if (found === null || imports === undefined) return error;
  const { 1: specifier, 2: name } = found;
  const format = mapGet(records, imports[specifier])?.format;
  const head = `Named export '${name}' not found. The requested module '${specifier}' is`;
  if (format in NAMELESS) {
    return new SyntaxError(`${head} ${NAMELESS[format]}, which has a default export only: ` +
      `import value from '${specifier}' with { type: '${format}' };`);
  }
  if (format !== "commonjs") return error;
  const taken = exec(NAME, name) === null ? `pkg[${toJson(name)}]` : `const { ${name} } = pkg`;
  return new SyntaxError(`${head} a CommonJS module, whose names can't all be known before it ` +
    `runs. Take them from its default export: import pkg from '${specifier}'; ${taken};`);
}

/** Links a module with all that it imports, which all is there. */
function link(url) {
  if (host.statusOf(url) >= INSTANTIATED) return;
  const problem = host.linkModule(url);
  if (problem !== undefined) throw problemOf(problem);
}

/** The URLs of modules, and of all that they import. */
function reach(urls) {
  const found = new Set();
  const todo = urls;
  while (todo.length > 0) {
    const url = pop(todo);
    const record = mapGet(records, url);
    if (record === undefined || setHas(found, url)) continue;
    setAdd(found, url);
    const imports = importsOf(record);
    const names = keys(imports);
    for (let i = 0; i < names.length; i++) push(todo, imports[names[i]]);
  }
  return found;
}

function listOf(set) {
  const list = [];
  const items = setValues(set);
  for (let step = setNext(items); !step.done; step = setNext(items)) push(list, step.value);
  return list;
}

/** Notes that a module and all that it imports have been evaluated. */
function finish(url) {
  if (!startsWith(url, CELLS)) {
    setAdd(evaluated, url);
    return;
  }
  const { imports } = mapGet(records, url); // the cell's own module goes
  const names = keys(imports);
  for (let i = 0; i < names.length; i++) setAdd(evaluated, imports[names[i]]);
}

/** Notes that a module is being evaluated, until `end` is given what this returns. */
function begin(url) {
  const task = { __proto__: null, url, owner: owner() };
  setAdd(underWay, task);
  return task;
}

/** It is evaluated, or has failed. */
function end(task) {
  setDelete(underWay, task);
  finish(task.url);
}

/** It has run, but for what it imports nothing is said. */
function leave(task) {
  setDelete(underWay, task);
}

/**
 * Lets CommonJS modules that have failed run again, as `require` does: V8 keeps the error of a
 * module, or goes on as if it had none.
 */
function renew(url) {
  const urls = listOf(reach([url]));
  for (let i = 0; i < urls.length; i++) {
    const record = mapGet(records, urls[i]);
    if (record.format !== "commonjs" || record.module !== undefined || !record.isMade) continue;
    if (host.statusOf(urls[i]) <= INSTANTIATED) continue;
    host.dropModule(urls[i]);
    record.isMade = false;
  }
}

async function evaluate(url) {
  make(url);
  link(url);
  const task = begin(url);
  try {
    await host.evaluateModule(url);
  } catch (error) {
    renew(url);
    throw error;
  } finally {
    end(task);
  }
  return host.namespaceOf(url);
}

/**
 * Evaluates an ES module for `require`, which can't wait.
 * @param {string} url
 * @returns {object} its namespace
 */
function evaluateNow(url) {
  make(url);
  link(url);
  const task = begin(url);
  const promise = host.evaluateModule(url);
  const { 0: state, 1: result } = host.promiseDetails(promise);
  if (state === PENDING) {
    throw failure("Error", `require() can't load ${url}: it has a top-level await; ` +
      "use import() instead", "ERR_REQUIRE_ASYNC_MODULE");
  }
  end(task);
  if (state === REJECTED) {
    then(promise, undefined, () => {}); // it is thrown here
    renew(url);
    throw result;
  }
  return host.namespaceOf(url);
}

/**
 * Forgets modules that were being evaluated when an execution was stopped: V8 would wait for
 * them for ever.
 * @param {number} id the execution
 */
function cancel(id) {
  const tasks = listOf(underWay);
  for (let i = 0; i < tasks.length; i++) {
    if (tasks[i].owner !== id) continue;
    setDelete(underWay, tasks[i]);
    forget(tasks[i].url);
  }
}

/** Forgets all modules: the context is to be blank. */
function clear() {
  const urls = parse(host.moduleUrls());
  for (let i = 0; i < urls.length; i++) host.dropModule(urls[i]);
  const known = mapKeys(records); // of CommonJS modules that haven't run, code is kept
  for (let step = mapNext(known); !step.done; step = mapNext(known)) host.dropModule(step.value);
  mapClear(records);
  mapClear(resolved);
  evaluated = new Set();
}

function forget(url) {
  const done = reach(listOf(evaluated));
  const urls = listOf(reach([url]));
  for (let i = 0; i < urls.length; i++) {
    if (setHas(done, urls[i])) continue;
    mapDelete(records, urls[i]);
    host.dropModule(urls[i]);
  }
}

// -- V8's questions --------------------------------------------------------------------------

/**
 * `import()` was called.
 * @param {string} referrer the module's or script's name; "" for cells
 * @param {string} specifier
 * @param {string[]} pairs import attributes, names and values in turns
 * @returns {Promise<object>} the namespace
 */
async function importModule(referrer, specifier, pairs) {
  if (referrer === "" && startsWith(specifier, CELLS)) return takeCell(specifier);
  const attributes = { __proto__: null };
  for (let i = 0; i < pairs.length; i += 2) attributes[pairs[i]] = pairs[i + 1];
  const { 0: url } = await find([{ specifier, attributes }], referrer ?? "", "dynamic");
  return evaluate(url);
}

/**
 * A module that is made of values is evaluated.
 * @param {string} url
 * @returns {Promise<void>}
 */
function evaluateModule(url) {
  const record = mapGet(records, url);
  const value = valueOf(record);
  host.setExport(url, "default", value);
  const { names } = record;
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    if (name === "default") continue;
    host.setExport(url, name, name === "module.exports" ? value : exportOf(value, name));
  }
  return resolve();
}

function exportOf(value, name) {
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return undefined;
  try {
    return value[name];
  } catch {
    return undefined; // a getter that throws, as some deprecated ones do
  }
}

/** What a module gives that is no ES module. */
function valueOf(record) {
  const { url, format, source } = record;
  if (format === "builtin") return builtins.load(url);
  if (format === "commonjs") return require("commonjs").run(record);
  if (format === "text") return source;
  if (record.module === undefined) {
    try {
      record.module = { exports: parse(source) };
    } catch (error) {
      throw failure("SyntaxError", `${url}: ${error.message}`, "ERR_INVALID_JSON");
    }
    record.source = "";
  }
  return record.module.exports;
}

const FILE = /^file:\/\/(\/.*)$/;

/** The path of a module: of a file, or its URL where there is no file. */
function pathOf(url) {
  const path = exec(FILE, url)?.[1];
  return path === undefined ? url : decodeUri(path);
}

const folderOf = (path) => exec(/^(.*)\//, path)?.[1] || "/";

/**
 * A module asks for its `import.meta`.
 * @param {string} url
 * @param {object} meta
 */
function describeModule(url, meta) {
  const put = (name, value) => defineProperty(meta, name,
    { __proto__: null, value, writable: true, enumerable: true, configurable: true });
  const path = pathOf(url);
  put("dirname", folderOf(path));
  put("filename", path);
  put("main", false);
  const referrer = url === ROOT ? "" : url;
  put("resolve", (specifier) => resolveFile(`${specifier}`, referrer));
  put("url", url);
}

const ROOT = "file:///cell.js"; // what cells are called by themselves
let rootMeta;

/** `import.meta` of cells. */
function meta() {
  if (rootMeta === undefined) {
    rootMeta = { __proto__: null };
    describeModule(ROOT, rootMeta);
    rootMeta.main = true;
  }
  return rootMeta;
}

const PLAIN = { __proto__: null };
const AS_TEXT = { __proto__: null, type: "text" };

/** The URL that a specifier means, loading what it is if need be. */
const resolveNow = (specifier, referrer, kind) =>
  findNow([{ specifier, attributes: PLAIN }], referrer, kind)[0];

/** The URL that a specifier means, also that of a file which can't be imported without a type. */
function resolveFile(specifier, referrer) {
  try {
    return resolveNow(specifier, referrer, "import");
  } catch (error) {
    if (error?.code !== "ERR_IMPORT_ATTRIBUTE_TYPE_INCOMPATIBLE") throw error;
    const found = findNow([{ specifier, attributes: AS_TEXT }], referrer, "import")[0];
    return isText(found) ? slice(found, 0, -TEXT.length) : found;
  }
}

// -- import statements of cells ---------------------------------------------------------------

/**
 * Loads what the import statements of a cell name.
 * @param {string} json script, text, statements; see compiler/imports.py
 * @returns {Promise<string>} JSON: what to import the names from, and which there are
 */
async function importCell(json) {
  const cell = parse(json);
  const url = CELLS + (cells += 1);
  await findAll(cell);
  const imports = linkCell(url, cell);
  keep({ __proto__: null, url, format: "esm", imports }, "");
  try {
    await evaluate(url);
  } catch (error) {
    dropCell(url);
    throw error;
  }
  const names = namesOf(cell);
  if (names.length === 0) dropCell(url);
  return toJson({ __proto__: null, url, names });
}

function dropCell(url) {
  mapDelete(records, url);
  host.dropModule(url);
}

/** Gives a cell the names that it has imported, once. */
function takeCell(url) {
  const namespace = host.namespaceOf(url);
  dropCell(url);
  return namespace;
}

/** Finds what the statements name, without those that name types only if need be. */
async function findAll(cell) {
  try {
    await find(cell.statements, "", "import");
  } catch (error) {
    const some = [];
    for (let i = 0; i < cell.statements.length; i++) {
      if (isOptional(cell.statements[i])) blank(cell, cell.statements[i].span[0], cell.statements[i].span[1]);
      else push(some, cell.statements[i]);
    }
    const isLess = some.length < cell.statements.length;
    cell.statements = some;
    if (isLess) return findAll(cell);
    throw placed(error, cell);
  }
}

function isOptional({ names }) {
  for (let i = 0; i < names.length; i++) if (names[i].optional !== true) return false;
  return names.length > 0;
}

/** Gives an error the place of the import statement that it is about. */
function placed(error, { script, statements }) {
  let at = statements[0];
  for (let i = 0; i < statements.length; i++) {
    if (statements[i].specifier === error?.specifier) at = statements[i];
  }
  const isObject = typeof error === "object" && error !== null;
  if (isObject && at !== undefined) {
    require("stack").place(error, script, at.line, at.column + 1, true);
  }
  return error;
}

/** Links the module of a cell's import statements; returns what its specifiers mean. */
function linkCell(url, cell) {
  for (;;) {
    const { script, statements } = cell;
    const urls = found(statements, "", "import");
    const targets = { __proto__: null };
    for (let i = 0; i < urls.length; i++) {
      targets[statements[i].specifier] = urls[i];
      make(urls[i]);
    }
    const problem = host.compileModule(url, textOf(cell), toJson(targets)) ?? host.linkModule(url);
    if (problem === undefined) return targets;
    host.dropModule(url);
    if (problem[1] !== url) throw problemOf(problem);
    if (leaveOut(cell, problem)) continue;
    problem[1] = script;
    throw problemOf(problem, targets);
  }
}

function namesOf({ statements }) {
  const names = [];
  for (let i = 0; i < statements.length; i++) {
    for (let k = 0; k < statements[i].names.length; k++) push(names, statements[i].names[k].name);
  }
  return names;
}

function textOf(cell) {
  let list = "";
  const names = namesOf(cell);
  // No name is exported as it is: a namespace with a `then` is taken for a promise.
  for (let i = 0; i < names.length; i++) list += `${names[i]} as $${names[i]}, `;
  return `${cell.text}\nexport { ${list}}`;
}

const blanks = (text) => replace(text, /[^\n\r\u2028\u2029]/g, " ");

/** Takes a range out of the import statements of a cell; all else stays where it was. */
function blank(cell, from, to) {
  const { text } = cell;
  cell.text = slice(text, 0, from) + blanks(slice(text, from, to)) + slice(text, to);
}

/**
 * Leaves out the name that V8 complains of, if it may be a type's.
 * @returns {boolean} whether it is so
 */
function leaveOut(cell, { 0: error, 2: line, 3: column }) {
  if (exec(LACKS, error.message) === null) return false;
  for (let i = 0; i < cell.statements.length; i++) {
    const { names } = cell.statements[i];
    for (let k = 0; k < names.length; k++) {
      const name = names[k];
      const isIt = name.line === line && name.column <= column &&
        column < name.column + name.end - name.start;
      if (!isIt || name.optional !== true) continue;
      const after = exec(/^\s*,/, slice(cell.text, name.end));
      const before = after === null ? exec(/,\s*$/, slice(cell.text, 0, name.start)) : null;
      blank(cell, name.start - (before?.[0].length ?? 0), name.end + (after?.[0].length ?? 0));
      cell.statements[i].names = filter(names, (other) => other !== name);
      return true;
    }
  }
  return false;
}

const PACKAGE = /^npm:\/((?:@[^/]+\/)?[^/@]+)@([^/]+)\//;

/**
 * @returns {{name: string, version: string, modules: number, integrity?: string,
 *   ranges?: string[], dependent?: string}[]} the packages whose modules the context has, in the
 *   order in which they came, with what its lock says of them
 */
function packages() {
  const found = [];
  const places = new Map();
  const urls = mapKeys(records);
  for (let step = mapNext(urls); !step.done; step = mapNext(urls)) {
    const match = exec(PACKAGE, step.value);
    if (match === null) continue;
    const { 0: place, 1: name, 2: version } = match;
    const known = mapGet(places, place);
    if (known !== undefined) {
      found[known].modules += 1;
      continue;
    }
    mapSet(places, place, found.length);
    push(found, { name, version, modules: 1 });
  }
  const locked = found.length === 0 ? [] : lock();
  for (let i = 0; i < locked.length; i++) {
    const { name, version, integrity, ranges, dependent } = locked[i];
    const known = mapGet(places, `npm:/${name}@${version}/`);
    if (known === undefined) continue;
    const package_ = found[known];
    package_.integrity = integrity;
    package_.ranges = ranges;
    if (dependent !== null) package_.dependent = dependent;
  }
  return found;
}

/** What the context's lock says, which whoever holds the context keeps; nothing if nobody does. */
function lock() {
  try {
    return require("capabilities").callNow("modules.list").value;
  } catch {
    return [];
  }
}

module.exports = { __proto__: null, begin, cancel, clear, describeModule, end, evaluateModule, evaluateNow,
  failure, folderOf, importCell, importModule, leave, meta, packages, pathOf, recordOf, records,
  resolveNow, valueOf };

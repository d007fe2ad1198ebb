"use strict";
// WebAssembly in saved heaps. V8 can write nothing of it, so it is taken apart in the copy that
// is written, and put together by whoever reads it; Python drives both (`v8/wasm_parts.py`).
// Everything here is taken from V8 before there is any user code.

const { Symbol, WeakMap, defineProperty, getDescriptor, getPrototype, ownValue, push, uncurry,
  weakGet, weakSet } = require("intrinsics");

const { construct, setPrototypeOf } = Reflect;
const classes = { __proto__: null };
for (const name of ["Memory", "Table", "Global", "Tag", "Instance"]) {
  classes[name] = ownValue(WebAssembly, name);
}
const { compile, instantiate } = WebAssembly;
const getTableItem = uncurry(classes.Table.prototype.get);
const setTableItem = uncurry(classes.Table.prototype.set);
const getTableLength = uncurry(getDescriptor(classes.Table.prototype, "length").get);
const getBuffer = uncurry(getDescriptor(classes.Memory.prototype, "buffer").get);
const getValue = uncurry(classes.Global.prototype.valueOf);
const getExports = uncurry(getDescriptor(classes.Instance.prototype, "exports").get);
const { getPrototypeOf } = Object;
const typedName = uncurry(
  getDescriptor(getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get);
const typedOffset = uncurry(
  getDescriptor(getPrototypeOf(Uint8Array.prototype), "byteOffset").get);
const dataOffset = uncurry(getDescriptor(DataView.prototype, "byteOffset").get);
const isDataView = (view) => typedName(view) === undefined;
const isResizable = uncurry(getDescriptor(ArrayBuffer.prototype, "resizable").get);

const instances = new WeakMap(); // to what each was made of
let made = 0;
let isUsed = false;

/**
 * Takes note of what there may be without any module: V8 has no counter for its use. It writes
 * a memory as it writes anything, but what it reads back can't grow, and trying to ends the
 * process.
 */
exports.watch = function watch() {
  for (const name of ["compileStreaming", "instantiateStreaming"]) {
    defineProperty(WebAssembly, name, {
      __proto__: null, value: streaming[name], writable: true, enumerable: true,
      configurable: true,
    });
  }
  for (const name of ["Memory", "Table", "Global", "Tag"]) {
    const define = (value) => {
      defineProperty(WebAssembly, name, {
        __proto__: null, value, writable: true, enumerable: false, configurable: true,
      });
    };
    defineProperty(WebAssembly, name, {
      __proto__: null,
      get() {
        isUsed = true;
        define(classes[name]);
        return classes[name];
      },
      set: define,
      enumerable: false,
      configurable: true,
    });
  }
};

/** What V8 leaves to its host: they take a Response. */
const streaming = {
  compileStreaming: (source, options) => compileFrom(source, options),
  instantiateStreaming: (source, imports, options) => instantiateFrom(source, imports, options),
};

async function compileFrom(source, options) {
  const { bytes } = await require("web/wasm_streaming").readModule(source, "compileStreaming");
  return compile(bytes, options);
}

async function instantiateFrom(source, imports, options) {
  const { bytes } = await require("web/wasm_streaming").readModule(source, "instantiateStreaming");
  return instantiate(bytes, imports, options);
}

for (const name of ["compileStreaming", "instantiateStreaming"]) {
  defineProperty(streaming[name], "length", { __proto__: null, value: 1, configurable: true });
}

/** @returns {boolean} whether there may be any of them */
exports.isUsed = () => isUsed;

const isObject = (value) =>
  (typeof value === "object" && value !== null) || typeof value === "function";

/** An accessor that throws what reading an import has thrown, when V8 reads it. */
const failing = (error) => ({
  __proto__: null,
  get() {
    throw error;
  },
});

/**
 * Reads the imports of an instance, as V8 would: a getter is called once.
 * @param {{module: string, name: string}[]} wanted made by V8
 * @param {object} imports
 * @returns {[object, unknown[]]} what V8 shall read them from, and their values
 */
exports.readImports = function readImports(wanted, imports) {
  const given = { __proto__: null };
  const values = [];
  for (let i = 0; i < wanted.length; i++) {
    const { module, name } = wanted[i];
    let from;
    try {
      from = imports[module];
    } catch (error) {
      defineProperty(given, module, failing(error));
      break;
    }
    if (!isObject(from)) {
      given[module] = from; // V8 says what is wrong with it
      break;
    }
    given[module] ??= { __proto__: null };
    try {
      given[module][name] = from[name];
    } catch (error) {
      defineProperty(given[module], name, failing(error));
      break;
    }
    push(values, given[module][name]);
  }
  return [given, values];
};

/** Keeps what an instance was made of. */
exports.keepImports = function keepImports(instance, values) {
  weakSet(instances, instance, { __proto__: null, order: made, values });
  made += 1;
};

/** @returns {[number, unknown[]] | undefined} the instance's place in their order; its imports */
exports.importsOf = function importsOf(instance) {
  const found = weakGet(instances, instance);
  return found === undefined ? undefined : [found.order, found.values];
};

/**
 * Makes an object anew. Python has it be made in the place of `shell`, whose prototype stays.
 * @param {string} name of the class
 * @param {object | null} shell
 * @param {unknown[]} values what is given to the class; of an object only own properties count
 */
exports.construct = function construct_(name, shell, values) {
  const prototype = shell === null ? classes[name].prototype : getPrototype(shell);
  const target = function () {};
  target.prototype = prototype;
  const object = construct(classes[name], values, target);
  if (getPrototype(object) !== prototype) setPrototypeOf(object, prototype);
  return object;
};

/** A plain object that inherits nothing. */
exports.record = (names, values) => {
  const object = { __proto__: null };
  for (let i = 0; i < names.length; i++) object[names[i]] = values[i];
  return object;
};

/** An instance's imports in the module's variant. */
exports.variantImports = (values, others) => {
  const all = { __proto__: null };
  for (let i = 0; i < values.length; i++) all[i] = values[i];
  for (let i = 0; i < others.length; i++) all[values.length + i] = others[i];
  return { __proto__: null, i: all };
};

/** Does nothing; functions become like it in the copy that is written. */
exports.idle = () => {};

exports.offsetOf = (view) => (isDataView(view) ? dataOffset(view) : typedOffset(view));
exports.bufferOf = getBuffer;
exports.exportsOf = getExports;
exports.isFixed = (buffer) => !isResizable(buffer);
exports.valueOf = (object) => [getValue(object)];
exports.setItem = setTableItem;
exports.lengthOf = getTableLength;

/** What a table has, for one of any JavaScript values. */
exports.itemsOf = function itemsOf(table) {
  const items = [];
  for (let i = 0; i < getTableLength(table); i++) push(items, getTableItem(table, i));
  return items;
};

exports.setItems = function setItems(table, items) {
  for (let i = 0; i < items.length; i++) setTableItem(table, i, items[i]);
};

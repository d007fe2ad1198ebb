"use strict";
// Which expression leads to an object that can't be saved? Searches what names lead to, breadth
// first, without running any code of the user's: no getters, no traps of proxies.

const { Map, exec, getDescriptor, hasOwn, mapGet, mapHas, mapKeys, mapNext, mapSet, mapSize,
  ownKeys, toJson, symbolToString, toText } = require("intrinsics");
const { records } = require("modules");
const { lexicalNames, lexicalValue, previewEntries, proxyDetails, typeOf } = host;

const OBJECTS = 500000; // that are looked at; more take too long
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;
const INDEX = /^(?:0|[1-9][0-9]*)$/;

const isObject = (value) =>
  (typeof value === "object" && value !== null) || typeof value === "function";

function member(key) {
  if (typeof key === "symbol") return `[${symbolToString(key)}]`;
  if (exec(INDEX, key) !== null) return `[${key}]`;
  return exec(NAME, key) !== null ? `.${key}` : `[${toJson(key)}]`;
}

function literal(key) {
  if (typeof key === "string") return toJson(key);
  if (typeof key === "number" || typeof key === "boolean") return toText(key);
  return undefined;
}

/** A breadth-first search: objects in the order in which they were seen, and from where. */
function begin(targets) {
  const wanted = new Map();
  for (let i = 0; i < targets.length; i++) mapSet(wanted, targets[i], i);
  return { __proto__: null, wanted, seen: new Map(), objects: [], parents: [], steps: [], at: -1 };
}

function see(search, value, parent, step) {
  if (search.at >= 0 || !isObject(value) || mapHas(search.seen, value)) return;
  const index = search.objects.length;
  mapSet(search.seen, value, index);
  search.objects[index] = value;
  search.parents[index] = parent;
  search.steps[index] = step;
  if (mapHas(search.wanted, value)) search.at = index;
}

function seeEntries(search, object, index, brand) {
  const { 0: entries } = previewEntries(object) ?? [[]];
  if (brand === "Set") {
    for (let i = 0; i < entries.length; i++) see(search, entries[i], index, [`[...`, `][${i}]`]);
    return;
  }
  for (let i = 0; i + 1 < entries.length; i += 2) {
    see(search, entries[i], index, [`[...`, `.keys()][${i / 2}]`]);
    const key = literal(entries[i]);
    const step = key === undefined ? [`[...`, `.values()][${i / 2}]`] : ["", `.get(${key})`];
    see(search, entries[i + 1], index, step);
  }
}

function seeMembers(search, object, index) {
  const brand = typeOf(object);
  if (brand === "Map" || brand === "Set") seeEntries(search, object, index, brand);
  const keys = ownKeys(object);
  for (let i = 0; i < keys.length; i++) {
    let descriptor;
    try {
      descriptor = getDescriptor(object, keys[i]);
    } catch {
      // An export of a module that has no value yet.
    }
    if (descriptor !== undefined && hasOwn(descriptor, "value")) {
      if (isObject(descriptor.value)) see(search, descriptor.value, index, ["", member(keys[i])]);
    }
  }
}

function pathTo(search, index) {
  const { 0: before, 1: after } = search.steps[index];
  const parent = search.parents[index];
  return parent < 0 ? after : `${before}${pathTo(search, parent)}${after}`;
}

/** What modules export that aren't V8's, unless an ES module has imported them. */
function seeRequired(search) {
  const urls = mapKeys(records);
  for (let step = mapNext(urls); !step.done; step = mapNext(urls)) {
    const { module } = mapGet(records, step.value);
    if (module !== undefined) {
      see(search, module.exports, -1, ["", `require(${toJson(step.value)})`]);
    }
  }
}

/**
 * Searches from the top-level names, from globalThis, and from what modules export.
 * @param {object[]} targets
 * @param {(string | object)[]} modules the URL of each, and its namespace
 * @returns {string} JSON: [index of the target that was found, the expression], or []
 */
exports.find = function find(targets, modules) {
  const search = begin(targets);
  const names = lexicalNames();
  for (let i = 0; i < names.length; i++) {
    const value = lexicalValue(names[i]);
    if (value !== undefined) see(search, value[0], -1, ["", names[i]]);
  }
  see(search, globalThis, -1, ["", "globalThis"]);
  seeRequired(search);
  for (let i = 0; i + 1 < modules.length; i += 2) {
    see(search, modules[i + 1], -1, ["", `(await import(${toJson(modules[i])}))`]);
  }
  for (let i = 0; i < search.objects.length && search.at < 0; i++) {
    if (mapSize(search.seen) > OBJECTS) break;
    if (proxyDetails(search.objects[i]) === undefined) seeMembers(search, search.objects[i], i);
  }
  if (search.at < 0) return "[]";
  const found = search.objects[search.at];
  return toJson([mapGet(search.wanted, found), pathTo(search, search.at)]);
};

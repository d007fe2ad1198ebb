"use strict";
// Structured clones of values that have objects of the platform in them, which V8's serializer
// takes for plain ones. All but them and what contains them is still copied by V8, at once, so
// that views go on sharing their buffers.
const { Map, defineProperty, getOwnPropertyDescriptor, getPrototype, hasOwn, isArray, keys,
  mapForEach, mapGet, mapHas, mapSet, setAdd, setHas, uncurry } = require("intrinsics");

const forEachMember = uncurry(Set.prototype.forEach);
const isObject = (value) => typeof value === "object" && value !== null;
const plain = Object.prototype;
const list = Array.prototype;

/**
 * Does a value have an object of the platform in it, as far as can be seen without running the
 * user's getters? One that has getters might.
 *
 * @param {object} value
 * @param {(object: object) => unknown} clonerOf undefined for what is not the platform's
 */
function hasPlatformObjects(value, clonerOf) {
  const seen = new Map([[value, true]]);
  const waiting = [value];
  const see = (member) => {
    if (mapHas(seen, member)) return;
    mapSet(seen, member, true);
    waiting[waiting.length] = member;
  };
  for (let i = 0; i < waiting.length; i++) {
    const object = waiting[i];
    const prototype = getPrototype(object);
    if (prototype !== plain && prototype !== list) {
      if (clonerOf(object) !== undefined) return true;
      if (ArrayBuffer.isView(object)) continue; // the keys of one are its numbers
      if (object instanceof Map || object instanceof Set) forEachIn(object, see);
    }
    const names = keys(object);
    for (let k = 0; k < names.length; k++) {
      // V8's own descriptor, as this is most of what a clone takes: only what it has is read.
      const descriptor = getOwnPropertyDescriptor(object, names[k]);
      if (descriptor === undefined) continue;
      if (!hasOwn(descriptor, "value")) return true;
      const { value: member } = descriptor;
      if (isObject(member)) see(member);
    }
  }
  return false;
}

function forEachIn(collection, see) {
  try {
    mapForEach(collection, (value, key) => {
      if (isObject(key)) see(key);
      if (isObject(value)) see(value);
    });
  } catch {
    try {
      forEachMember(collection, (value) => isObject(value) && see(value));
    } catch {
      // Something that only inherits from one of them.
    }
  }
}

/**
 * Begin a copy: read the value once, as the serializer would, and copy all but its containers.
 *
 * @param {object} value
 * @param {(object: object) => unknown} clonerOf null for what can't be cloned
 * @param {object[]} moved what the end of the copy gets instead of cloning it
 * @param {(objects: unknown[]) => unknown[]} clone V8's
 * @param {(object: object) => never} refuse
 * @returns {(places: Map<object, object>) => unknown} ends the copy
 */
function read(value, { clonerOf, moved, clone, refuse }) {
  const copies = new Map();
  const containers = [];
  const others = [];
  const waiting = [];
  const see = (member) => {
    if ((!isObject(member) && typeof member !== "function" && typeof member !== "symbol") ||
        mapHas(copies, member)) return;
    mapSet(copies, member, undefined);
    waiting[waiting.length] = member;
  };
  see(value);
  for (let i = 0; i < waiting.length; i++) {
    const member = waiting[i];
    if (setHas(moved, member)) continue;
    const cloner = isObject(member) ? clonerOf(member) : undefined;
    if (cloner === null) refuse(member);
    if (cloner !== undefined) {
      mapSet(copies, member, cloner(member));
      continue;
    }
    const container = isObject(member) ? snapshotOf(member) : undefined;
    if (container === undefined) {
      others[others.length] = member;
      continue;
    }
    containers[containers.length] = container;
    mapSet(copies, member, container.copy);
    for (let k = 0; k < container.keys.length; k++) {
      if (container.kind !== "members") see(container.keys[k]);
      see(container.values[k]);
    }
  }
  const cloned = clone(others);
  for (let i = 0; i < others.length; i++) mapSet(copies, others[i], cloned[i]);
  return (places) => {
    mapForEach(places, (place, item) => mapSet(copies, item, place));
    const copyOf = (member) => (mapHas(copies, member) ? mapGet(copies, member) : member);
    for (let i = 0; i < containers.length; i++) fill(containers[i], copyOf);
    return copyOf(value);
  };
}

/** What a container has, its getters run, and the empty copy; undefined for all else. */
function snapshotOf(object) {
  const brand = host.typeOf(object);
  const found = { __proto__: null, kind: "members", copy: undefined, keys: [], values: [] };
  if (brand === "Map" || brand === "Set") {
    found.kind = brand;
    found.copy = brand === "Map" ? new Map() : new Set();
    const take = (item, key) => {
      found.keys[found.keys.length] = key;
      found.values[found.values.length] = item;
    };
    if (brand === "Map") mapForEach(object, take);
    else forEachMember(object, take);
    return found;
  }
  if (brand !== "Object" && brand !== "Array") return undefined;
  found.copy = isArray(object) ? new Array(object.length) : {};
  found.keys = keys(object);
  for (let k = 0; k < found.keys.length; k++) found.values[k] = object[found.keys[k]];
  return found;
}

function fill({ kind, copy, keys: names, values }, copyOf) {
  for (let k = 0; k < names.length; k++) {
    const value = copyOf(values[k]);
    if (kind === "Map") mapSet(copy, copyOf(names[k]), value);
    else if (kind === "Set") setAdd(copy, value);
    else {
      defineProperty(copy, names[k], {
        value, writable: true, enumerable: true, configurable: true,
      });
    }
  }
}

module.exports = { hasPlatformObjects, read };

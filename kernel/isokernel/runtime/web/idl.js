"use strict";
// What Web IDL gives every interface and JavaScript classes don't have by themselves.

const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** Interfaces defined so far, each with the function that clones its objects, or null. */
const cloners = new Map();

/** Handed to constructors that only the platform itself may call. */
const PLATFORM = Symbol("platform");

/**
 * Make a class look like a Web IDL interface.
 *
 * @param {Function} Class
 * @param {object} [traits]
 * @param {string[]} [traits.show] getters to show when an object is printed
 * @param {(value: object) => object} [traits.clone] how structuredClone copies an object
 * @param {Record<string, number>} [traits.constants]
 */
function defineInterface(Class, { show, clone = null, constants = {} } = {}) {
  makeMembersEnumerable(Class.prototype, ["constructor"]);
  makeMembersEnumerable(Class, ["length", "name", "prototype"]);
  for (const [name, value] of Object.entries(constants)) {
    Object.defineProperty(Class, name, { value, enumerable: true });
    Object.defineProperty(Class.prototype, name, { value, enumerable: true });
  }
  Object.defineProperty(Class.prototype, Symbol.toStringTag, {
    value: Class.name,
    configurable: true,
  });
  if (show) defineInspect(Class, show);
  cloners.set(Class, clone);
}

function makeMembersEnumerable(object, except) {
  for (const name of Object.getOwnPropertyNames(object)) {
    if (!except.includes(name)) Object.defineProperty(object, name, { enumerable: true });
  }
}

/**
 * Say what is shown of an object, by Node.js's convention for util.inspect.
 *
 * @param {Function} Class
 * @param {string[] | ((object: object, inspect: Function, options: object) => string)} show
 */
function defineInspect(Class, show) {
  const body =
    typeof show === "function"
      ? show
      : (object, inspect, options) =>
          inspect(Object.fromEntries(show.map((name) => [name, object[name]])), options);
  const value = function (depth, options, inspect) {
    const name = this.constructor?.name || Class.name;
    // The prototype itself is no object of its interface: its getters throw.
    if (Object.hasOwn(this, INSPECT)) return `${name} {}`;
    if (depth < 0) return `[${name}]`;
    const inner = { ...options, depth: options.depth == null ? null : options.depth - 1 };
    return `${name} ${body(this, inspect, inner)}`;
  };
  Object.defineProperty(Class.prototype, INSPECT, { value, writable: true, configurable: true });
}

/** Throw as browsers do when a call lacks arguments. */
function requireArguments(given, needed, what) {
  if (given < needed) {
    const plural = needed === 1 ? "" : "s";
    throw new TypeError(
      `Failed to execute '${what}': ` +
        `${needed} argument${plural} required, but only ${given} present.`,
    );
  }
}

/** Convert to a Web IDL dictionary: undefined and null are the empty one. */
function dictionary(value, what) {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" && typeof value !== "function") {
    throw new TypeError(`${what}: the provided value is not of type 'object'.`);
  }
  return value;
}

/** Refuse `new` to everyone but the platform. */
function requirePlatform(token) {
  if (token !== PLATFORM) throw new TypeError("Illegal constructor");
}

module.exports = {
  PLATFORM,
  cloners,
  defineInspect,
  defineInterface,
  dictionary,
  requireArguments,
  requirePlatform,
};

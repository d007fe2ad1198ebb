"use strict";
const { getDescriptor, uncurry } = require("intrinsics");
const { cloners, defineInspect, requireArguments } = require("web/idl");
const { URL, URLSearchParams } = require("vendor/url");

const SHOWN = [
  "href",
  "origin",
  "protocol",
  "username",
  "password",
  "host",
  "hostname",
  "port",
  "pathname",
  "search",
  "searchParams",
  "hash",
];

defineInspect(URL, SHOWN);
defineInspect(URLSearchParams, (params, inspect, options) => {
  const pairs = [...params].map(([k, v]) => `${inspect(k, options)} => ${inspect(v, options)}`);
  return pairs.length ? `{ ${pairs.join(", ")} }` : "{}";
});
cloners.set(URL, null).set(URLSearchParams, null);

// What the platform itself asks of them; taken before anybody can change the classes' methods.
const getterOf = (name) => uncurry(getDescriptor(URL.prototype, name).get);
const parts = ["href", "protocol", "username", "password", "host", "hash", "pathname"];
const getters = parts.map(getterOf);
const paramsText = uncurry(URLSearchParams.prototype.toString);
const paramsForEach = uncurry(URLSearchParams.prototype.forEach);

/**
 * The parts of a URL.
 *
 * @param {string} text
 * @param {string} [base]
 * @returns {Record<string, string>} href, protocol, username, password, host, hash, pathname
 * @throws {TypeError} it is none
 */
function parseUrl(text, base) {
  const url = base === undefined ? new URL(text) : new URL(text, base);
  const found = { __proto__: null };
  for (let i = 0; i < parts.length; i++) found[parts[i]] = getters[i](url);
  return found;
}

/** Parameters as the text of a form, or undefined for what are no parameters. */
function formText(value) {
  try {
    return paramsText(value);
  } catch {
    return undefined;
  }
}

/** The [name, value] pairs of a form's text. */
function formPairs(text) {
  const pairs = [];
  paramsForEach(new URLSearchParams(text), (value, name) => {
    pairs[pairs.length] = [name, value];
  });
  return pairs;
}

for (const name of ["createObjectURL", "revokeObjectURL"]) {
  const method = {
    [name](value) {
      requireArguments(arguments.length, 1, name);
      return require("web/object_urls")[name](value);
    },
  };
  Object.defineProperty(URL, name, {
    value: method[name], writable: true, enumerable: true, configurable: true,
  });
}

module.exports = { URL, URLSearchParams, formPairs, formText, parseUrl };

"use strict";
// Request (https://fetch.spec.whatwg.org/#request-class). There is no page here whose origin
// could be compared: what depends on one is kept as it was given, and has no effect.
const { exec, includes } = require("intrinsics");
const { follow, isSignal } = require("web/abort");
const { defineBody, extract } = require("web/body");
const { Headers, addMissing, copyOf, listOf, restrict } = require("web/headers");
const { byteString, defineInterface, dictionary, requireArguments, usvString } =
  require("web/idl");
const { parseUrl } = require("web/url");

const { TypeError } = globalThis;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FORBIDDEN = /^(?:CONNECT|TRACE|TRACK)$/i;
const USUAL = /^(?:DELETE|GET|HEAD|OPTIONS|POST|PUT)$/i; // written in capitals
const SIMPLE = /^(?:GET|HEAD|POST)$/;
/** Relative addresses are of files in the context's folder. */
const BASE = "file:///";
const CLIENT = "about:client";

const ENUMERATIONS = {
  __proto__: null,
  cache: ["default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached"],
  credentials: ["omit", "same-origin", "include"],
  duplex: ["half"],
  mode: ["same-origin", "no-cors", "cors", "navigate"],
  priority: ["high", "low", "auto"],
  redirect: ["follow", "error", "manual"],
  referrerPolicy: ["", "no-referrer", "no-referrer-when-downgrade", "same-origin", "origin",
    "strict-origin", "origin-when-cross-origin", "strict-origin-when-cross-origin", "unsafe-url"],
};

const fail = (message) => new TypeError(`Failed to construct 'Request': ${message}`);

/** What a request is, for the platform itself; throws for what is none. */
let stateOf;
let isRequest;

class Request {
  #state;
  #signal;

  constructor(input, init = undefined) {
    requireArguments(arguments.length, 1, "Request");
    const source = isRequest(input) ? input.#state : undefined;
    const url = source === undefined ? toUrl(input) : source.url;
    const options = toOptions(dictionary(init, "Request"));
    const state = source === undefined ? blank(url) : { ...source, body: null };
    this.#state = state;
    state.signal = source === undefined ? null : input.signal;
    take(state, options, source !== undefined);
    state.headers = makeHeaders(state, source, options);
    state.body = makeBody(state, source, options);
  }

  get method() {
    return this.#state.method;
  }

  get url() {
    return this.#state.url.href;
  }

  get headers() {
    return this.#state.headers;
  }

  get destination() {
    this.#state;
    return "";
  }

  get referrer() {
    return this.#state.referrer;
  }

  get referrerPolicy() {
    return this.#state.referrerPolicy;
  }

  get mode() {
    return this.#state.mode;
  }

  get credentials() {
    return this.#state.credentials;
  }

  get cache() {
    return this.#state.cache;
  }

  get redirect() {
    return this.#state.redirect;
  }

  get integrity() {
    return this.#state.integrity;
  }

  get keepalive() {
    return this.#state.keepalive;
  }

  get isReloadNavigation() {
    this.#state;
    return false;
  }

  get isHistoryNavigation() {
    this.#state;
    return false;
  }

  get signal() {
    // Made when it is asked for: most requests are sent and forgotten.
    this.#signal ??= follow(this.#state.signal);
    return this.#signal;
  }

  get duplex() {
    this.#state;
    return "half";
  }

  clone() {
    const { body } = this.#state;
    if (body?.unusable) throw new TypeError("Request.clone: the body was read already");
    const copy = new Request(this.#state.url.href);
    copy.#state = {
      ...this.#state,
      body: body?.clone() ?? null,
      headers: copyOf(this.#state.headers),
      signal: this.signal,
    };
    return copy;
  }

  static {
    isRequest = (value) => typeof value === "object" && value !== null && #state in value;
    stateOf = (request) => ({ __proto__: null, ...request.#state });
    defineBody(Request, (request) =>
      ({ __proto__: null, body: request.#state.body, list: listOf(request.#state.headers) }));
  }
}

function toUrl(input) {
  const text = usvString(input);
  let url;
  try {
    url = parseUrl(text, BASE);
  } catch {
    throw fail(`'${text}' is no URL.`);
  }
  if (url.username !== "" || url.password !== "") {
    throw fail("the URL has a user's name or password: give them in the header Authorization.");
  }
  // As in the standard, a request has the blob that its URL named when it was made.
  if (url.protocol === "blob:") url.blob = require("web/object_urls").blobAt(url.href);
  return url;
}

const blank = (url) => ({
  __proto__: null, url, method: "GET", headers: undefined, body: null, referrer: CLIENT,
  referrerPolicy: "", mode: "cors", credentials: "same-origin", cache: "default",
  redirect: "follow", integrity: "", keepalive: false, signal: null,
});

/** Web IDL's dictionary RequestInit: its members in the order in which they are read. */
function toOptions(init) {
  const options = { __proto__: null };
  const convert = {
    __proto__: null,
    body: (value) => value,
    cache: toEnumeration,
    credentials: toEnumeration,
    duplex: toEnumeration,
    headers: (value) => value,
    integrity: (value) => `${value}`,
    keepalive: (value) => Boolean(value),
    method: (value) => byteString(value, "Request"),
    mode: toEnumeration,
    priority: toEnumeration,
    redirect: toEnumeration,
    referrer: (value) => usvString(value),
    referrerPolicy: toEnumeration,
    signal: toSignal,
    window: (value) => value,
  };
  for (const name in convert) {
    const value = init[name];
    if (value !== undefined) options[name] = convert[name](value, name);
  }
  return options;
}

function toEnumeration(value, name) {
  const text = `${value}`;
  const allowed = ENUMERATIONS[name];
  for (let i = 0; i < allowed.length; i++) if (allowed[i] === text) return text;
  throw fail(`'${text}' is not a valid value for '${name}'.`);
}

function toSignal(value) {
  if (value === null || isSignal(value)) return value;
  throw fail("the member 'signal' is not of type 'AbortSignal'.");
}

/** Puts the options that are a request's own into its state. */
function take(state, options, isCopy) {
  if (options.window !== undefined && options.window !== null) {
    throw fail("'window' can only be null.");
  }
  let isEmpty = true;
  for (const _name in options) isEmpty = false;
  if (!isEmpty && isCopy) {
    state.referrer = CLIENT;
    state.referrerPolicy = "";
  }
  if (options.referrer !== undefined) state.referrer = toReferrer(options.referrer);
  if (options.mode === "navigate") throw fail("'mode' can't be 'navigate'.");
  const kept = ["referrerPolicy", "mode", "credentials", "cache", "redirect", "integrity",
    "keepalive"];
  for (let i = 0; i < kept.length; i++) {
    if (options[kept[i]] !== undefined) state[kept[i]] = options[kept[i]];
  }
  if (state.cache === "only-if-cached" && state.mode !== "same-origin") {
    throw fail("'only-if-cached' needs the mode 'same-origin'.");
  }
  if (options.method !== undefined) state.method = toMethod(options.method);
  if (options.signal !== undefined) state.signal = options.signal;
}

function toReferrer(text) {
  if (text === "") return "";
  let url;
  try {
    url = parseUrl(text, BASE);
  } catch {
    throw fail(`the referrer '${text}' is no URL.`);
  }
  return url.protocol === "http:" || url.protocol === "https:" ? url.href : CLIENT;
}

function toMethod(method) {
  if (exec(TOKEN, method) === null) throw fail(`'${method}' is no method.`);
  if (exec(FORBIDDEN, method) !== null) throw fail(`the method ${method} is not allowed.`);
  return exec(USUAL, method) === null ? method : upper(method);
}

const upper = (text) => {
  let made = "";
  for (let i = 0; i < text.length; i++) {
    made += includes("abcdefghijklmnopqrstuvwxyz", text[i])
      ? CAPITALS[text[i]]
      : text[i];
  }
  return made;
};
const CAPITALS = { __proto__: null };
for (const letter of "abcdefghijklmnopqrstuvwxyz") CAPITALS[letter] = letter.toUpperCase();

function makeHeaders(state, source, options) {
  const headers = options.headers === undefined && source !== undefined
    ? copyOf(source.headers)
    : new Headers(options.headers);
  if (state.mode === "no-cors") {
    if (exec(SIMPLE, state.method) === null) {
      throw fail(`the method ${state.method} is not allowed with the mode 'no-cors'.`);
    }
    restrict(headers);
  }
  return headers;
}

function makeBody(state, source, options) {
  const given = options.body ?? null;
  const before = source?.body ?? null;
  if ((given !== null || (before !== null && options.body === undefined)) &&
    (state.method === "GET" || state.method === "HEAD")) {
    throw fail(`a request with the method ${state.method} can't have a body.`);
  }
  if (given !== null) {
    const { body, type } = extract(given);
    if (body.bytes === undefined) requireHalf(state, options);
    if (type !== null) addMissing(state.headers, "content-type", type);
    return body;
  }
  if (before === null) return null;
  if (before.unusable) throw fail("the body of the request was read already.");
  return before.move();
}

function requireHalf(state, options) {
  if (options.duplex === undefined) throw fail("a stream as body needs `duplex: \"half\"`.");
  if (state.keepalive) throw fail("a stream can't be sent with 'keepalive'.");
  if (state.mode === "no-cors") throw fail("a stream can't be sent with the mode 'no-cors'.");
}

defineInterface(Request, { show: ["method", "url", "headers", "bodyUsed"] });

module.exports = { BASE, Request, stateOf };

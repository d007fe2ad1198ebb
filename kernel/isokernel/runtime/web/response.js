"use strict";
// Response (https://fetch.spec.whatwg.org/#response-class).
const { exec, stringify, trunc } = require("intrinsics");
const { Body, defineBody, encode, extract } = require("web/body");
const { Headers, addMissing, combined, copyOf, immutable, listOf } = require("web/headers");
const { byteString, defineInterface, dictionary, requireArguments, usvString } =
  require("web/idl");

const { RangeError, TypeError } = globalThis;
const PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/;
const SHORT = 65536; // an unsigned short is smaller
const isRedirect = (status) =>
  status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
const hasNoBody = (status) =>
  status === 101 || status === 103 || status === 204 || status === 205 || status === 304;

/** A response that came from somewhere. */
let received;

/** What a value has if it is a response: {body, ok, status, type}; undefined if it is none. */
let contentsOf;

class Response {
  #state;

  constructor(body = null, init = undefined) {
    const options = toOptions(dictionary(init, "Response"));
    this.#state = initialize(options, body === null ? null : () => extract(body));
  }

  static error() {
    return received({ type: "error", status: 0 });
  }

  static json(data, init = undefined) {
    requireArguments(arguments.length, 1, "Response.json");
    const text = stringify(data);
    if (text === undefined) throw new TypeError("Response.json: the value can't be made JSON.");
    const body = new Body({ bytes: encode(text) });
    const options = toOptions(dictionary(init, "Response.json"));
    const response = new Response();
    response.#state = initialize(options, () => ({ body, type: "application/json" }));
    return response;
  }

  static redirect(url, status = 302) {
    requireArguments(arguments.length, 1, "Response.redirect");
    const text = usvString(url);
    const code = toShort(status);
    let location;
    try {
      location = require("web/url").parseUrl(text, require("web/request").BASE).href;
    } catch {
      throw new TypeError(`Response.redirect: '${text}' is no URL.`);
    }
    if (!isRedirect(code)) throw new RangeError(`Response.redirect: ${code} is no redirect.`);
    return received({ type: "default", status: code, headers: [["Location", location]] });
  }

  get type() {
    return this.#state.type;
  }

  get url() {
    return this.#state.url;
  }

  get redirected() {
    return this.#state.redirected;
  }

  get status() {
    return this.#state.status;
  }

  get ok() {
    const { status } = this.#state;
    return status >= 200 && status <= 299;
  }

  get statusText() {
    return this.#state.statusText;
  }

  get headers() {
    return this.#state.headers;
  }

  clone() {
    const { body, headers, type } = this.#state;
    if (body?.unusable) throw new TypeError("Response.clone: the body was read already");
    const copy = new Response();
    copy.#state = {
      ...this.#state,
      body: body?.clone() ?? null,
      headers: copyOf(headers, type === "default" ? "none" : "immutable"),
    };
    return copy;
  }

  static {
    received = (given) => {
      const response = new Response();
      response.#state = {
        __proto__: null, type: "basic", url: "", redirected: false, statusText: "", body: null,
        ...given, headers: immutable(given.headers),
      };
      return response;
    };
    contentsOf = (value) => {
      if (typeof value !== "object" || value === null || !(#state in value)) return undefined;
      const { body, headers, status } = value.#state;
      return { __proto__: null, body, status, ok: status >= 200 && status <= 299,
        type: combined(listOf(headers), "content-type") };
    };
    defineBody(Response, (response) =>
      ({ __proto__: null, body: response.#state.body, list: listOf(response.#state.headers) }));
  }
}

/** Web IDL's dictionary ResponseInit, its members in the order in which they are read. */
function toOptions(init) {
  const { headers } = init;
  const filled = new Headers(headers);
  const { status } = init;
  const code = status === undefined ? 200 : toShort(status);
  const { statusText } = init;
  const phrase = statusText === undefined ? "" : byteString(statusText, "Response");
  return { __proto__: null, headers: filled, status: code, statusText: phrase };
}

/** Web IDL's unsigned short. */
function toShort(value) {
  const number = +value;
  if (number !== number || number === Infinity || number === -Infinity) return 0;
  const whole = trunc(number);
  return ((whole % SHORT) + SHORT) % SHORT;
}

function initialize({ headers, status, statusText }, makeBody) {
  if (status < 200 || status > 599) {
    throw new RangeError(`Failed to construct 'Response': the status ${status} is not one of ` +
      "200 to 599.");
  }
  if (exec(PHRASE, statusText) === null) {
    throw new TypeError(`Failed to construct 'Response': '${statusText}' is no status text.`);
  }
  const state = {
    __proto__: null, type: "default", url: "", redirected: false, status, statusText, headers,
    body: null,
  };
  if (makeBody === null) return state;
  if (hasNoBody(status)) {
    throw new TypeError(`Failed to construct 'Response': with the status ${status} there is no ` +
      "body.");
  }
  const { body, type } = makeBody();
  state.body = body;
  if (type !== null) addMissing(headers, "content-type", type);
  return state;
}

defineInterface(Response, {
  show: ["status", "statusText", "headers", "bodyUsed", "ok", "redirected", "type", "url"],
});

module.exports = { Response, contentsOf, hasNoBody, isRedirect, received };

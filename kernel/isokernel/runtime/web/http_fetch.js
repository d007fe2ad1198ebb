"use strict";
// fetch over HTTP: what a request sends, redirects, and the response that is made of the last one.
const { charCode, exec, indexOf, numberToString, replace, slice, toLowerCase } = require("intrinsics");
const { Body } = require("web/body");
const { listOf } = require("web/headers");
const { Exchange } = require("web/http");
const { hasNoBody, isRedirect, received } = require("web/response");
const { parseUrl } = require("web/url");

const { TypeError } = globalThis;
const REDIRECTS_MAX = 20; // the standard's
const OF_BODY = {
  __proto__: null, "content-encoding": true, "content-language": true, "content-length": true,
  "content-location": true, "content-type": true,
};
/** What is meant for the host that it was given for. */
const OF_HOST = { __proto__: null, authorization: true, cookie: true, "proxy-authorization": true };

async function fetchHttp(running) {
  const { request } = running;
  const hop = {
    __proto__: null, url: request.url, method: request.method, headers: pairsOf(request.headers),
    body: request.body, bytes: request.body?.bytes, referrer: request.referrer,
  };
  for (let count = 0; ; count++) {
    const exchange = new Exchange();
    running.exchange = exchange;
    const head = await exchange.open(sent(request, hop), hop.body);
    const location = isRedirect(head.status) ? valueOf(head.headers, "location") : undefined;
    if (location === undefined || request.redirect === "manual") {
      return await respond(running, hop, head, count > 0);
    }
    exchange.stop();
    if (request.redirect === "error") {
      throw new TypeError(`fetch: ${originOf(hop.url)} redirects, which the request doesn't allow`);
    }
    if (count === REDIRECTS_MAX) {
      throw new TypeError(`fetch: more than ${REDIRECTS_MAX} redirects, the last one of ` +
        originOf(hop.url));
    }
    redirect(hop, head.status, location);
  }
}

/** A header's bytes above ASCII as a URL has them. */
const escapeBytes = (text) =>
  replace(text, /[\x80-\xff]/g, (byte) => `%${numberToString(charCode(byte, 0), 16)}`);

/** Turns the request into the one that a redirect asks for. */
function redirect(hop, status, location) {
  const from = hop.url;
  let url;
  try {
    url = parseUrl(escapeBytes(location), from.href);
  } catch {
    throw new TypeError(`fetch: ${originOf(from)} redirects to what is no URL`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new TypeError(`fetch: ${originOf(from)} redirects to a URL of '${url.protocol}'`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new TypeError(`fetch: ${originOf(from)} redirects to a URL with a user's name`);
  }
  if (url.hash === "" && from.hash !== "") url = parseUrl(url.href + from.hash);
  if (status !== 303 && hop.body !== null && hop.bytes === undefined) {
    throw new TypeError(`fetch: ${originOf(from)} redirects, and a stream can't be sent twice`);
  }
  const { method } = hop;
  if (((status === 301 || status === 302) && method === "POST") ||
    (status === 303 && method !== "GET" && method !== "HEAD")) {
    hop.method = "GET";
    hop.body = null;
    hop.headers = without(hop.headers, OF_BODY);
  }
  if (originOf(url) !== originOf(from)) hop.headers = without(hop.headers, OF_HOST);
  if (hop.body !== null) hop.body = new Body({ bytes: hop.bytes });
  hop.url = url;
}

function respond(running, { method, url }, { status, statusText, headers }, redirected) {
  const { integrity } = running.request;
  const { exchange } = running;
  const bare = withoutFragment(url);
  const given = { __proto__: null, url: bare, redirected, status, statusText, headers, body: null };
  if (method === "HEAD" || hasNoBody(status)) {
    exchange.stop();
    running.end();
    if (integrity !== "") throw mismatch();
    return received(given);
  }
  const source = {
    __proto__: null,
    next: async () => {
      const chunk = await exchange.next();
      if (chunk === undefined) running.end();
      return chunk;
    },
    cancel: (reason) => {
      exchange.cancel(reason);
      running.end();
    },
  };
  given.body = new Body({ source });
  running.body = given.body;
  return integrity === "" ? received(given) : checked(given, integrity, running);
}

/** The response, once all of its body is there and is what was expected. */
async function checked(given, integrity, running) {
  const { bytes } = await given.body.readAll();
  given.body = new Body({ bytes });
  running.body = given.body;
  await requireIntegrity(given.body.clone(), integrity);
  return received(given);
}

const mismatch = () => new TypeError("fetch: the content is not what the integrity metadata says");

async function requireIntegrity(body, integrity) {
  const { bytes } = await body.readAll();
  if (!require("web/integrity").matches(bytes, integrity)) throw mismatch();
}

// -- what is sent ---------------------------------------------------------------------------

function sent(request, { url, method, headers }) {
  const list = [];
  for (let i = 0; i < headers.length; i++) list[i] = headers[i];
  const add = (name, value) => {
    if (valueOf(list, toLowerCase(name)) === undefined) list[list.length] = [name, value];
  };
  add("Accept", "*/*");
  const referrer = refererOf(request, url);
  if (referrer !== "") add("Referer", referrer);
  return { __proto__: null, method, url: withoutFragment(url), headers: list };
}

/** Where the request says that it comes from: only where code has given an address. */
function refererOf({ referrer, referrerPolicy }, url) {
  if (referrer === "" || referrer === "about:client") return "";
  const policy = referrerPolicy === "" ? "strict-origin-when-cross-origin" : referrerPolicy;
  const source = parseUrl(referrer);
  const origin = `${originOf(source)}/`;
  const full = withoutFragment(source);
  const isSame = originOf(source) === originOf(url);
  const isDowngrade = source.protocol === "https:" && url.protocol === "http:";
  switch (policy) {
    case "no-referrer": return "";
    case "origin": return origin;
    case "unsafe-url": return full;
    case "strict-origin": return isDowngrade ? "" : origin;
    case "no-referrer-when-downgrade": return isDowngrade ? "" : full;
    case "same-origin": return isSame ? full : "";
    case "origin-when-cross-origin": return isSame ? full : origin;
    default: return isSame ? full : isDowngrade ? "" : origin;
  }
}

function pairsOf(headers) {
  const list = listOf(headers);
  const pairs = [];
  for (let i = 0; i < list.length; i++) pairs[i] = [list[i].name, list[i].value];
  return pairs;
}

function without(pairs, names) {
  const rest = [];
  for (let i = 0; i < pairs.length; i++) {
    if (!(toLowerCase(pairs[i][0]) in names)) rest[rest.length] = pairs[i];
  }
  return rest;
}

/** The value of a header, by its name in lower case; undefined if there is none. */
function valueOf(pairs, name) {
  for (let i = 0; i < pairs.length; i++) if (toLowerCase(pairs[i][0]) === name) return pairs[i][1];
  return undefined;
}

const ORIGIN = /^[a-z]+:\/\/(?:[^/?#]*@)?([^/?#]*)/;
const originOf = (url) => `${url.protocol}//${exec(ORIGIN, url.href)?.[1] ?? ""}`;

function withoutFragment(url) {
  const at = indexOf(url.href, "#");
  return at < 0 ? url.href : slice(url.href, 0, at);
}

module.exports = { fetchHttp, requireIntegrity, withoutFragment };

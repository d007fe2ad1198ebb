"use strict";
// fetch (https://fetch.spec.whatwg.org/#fetch-method). There are no pages here, so there is no
// origin that is compared, no cookie jar, no cache: each request goes out, if a policy lets it.
// Redirects are followed here, so that whoever connects decides about each of them anew.
const { then } = require("intrinsics");
const { requireArguments } = require("web/idl");

const { Promise, TypeError } = globalThis;

/**
 * @param {Request | string} input
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
async function fetch(input, init = undefined) {
  requireArguments(arguments.length, 1, "fetch");
  const { Request, stateOf } = require("web/request");
  const request = stateOf(new Request(input, init));
  const { signal } = request;
  const running = new Running(request);
  // Awaited, as a promise that is returned would be asked for a `then`, which code may change.
  if (signal === null) return await begin(running);
  const abort = require("web/abort");
  const { aborted, reason } = abort.stateOf(signal);
  if (aborted) {
    request.body?.cancel(reason);
    throw reason;
  }
  return await new Promise((resolve, reject) => {
    running.forget = abort.whenAborted(signal, (why) => {
      reject(why);
      running.abort(why);
    });
    then(begin(running), resolve, reject);
  });
}

/** A fetch that has begun: what is stopped when it is aborted. */
class Running {
  constructor(request) {
    this.request = request;
    this.exchange = undefined;
    this.body = undefined;
    this.forget = undefined;
  }

  abort(reason) {
    this.request.body?.cancel(reason);
    this.exchange?.stop(reason);
    this.body?.fail(reason);
    this.end();
  }

  /** There is nothing to abort any more. */
  end() {
    this.forget?.();
    this.forget = undefined;
  }
}

async function begin(running) {
  const { protocol, href } = running.request.url;
  try {
    if (protocol === "http:" || protocol === "https:") {
      return await require("web/http_fetch").fetchHttp(running);
    }
    const fetched = SCHEMES[protocol];
    if (fetched === undefined) throw new TypeError(`fetch: URLs of '${protocol}' can't be fetched`);
    return await finish(running, await fetched(running.request, href));
  } catch (error) {
    running.exchange?.stop(error);
    running.end();
    throw error;
  }
}

const SCHEMES = {
  __proto__: null,
  "blob:": fetchBlob,
  "data:": fetchData,
  "file:": (request) => require("web/local_files").fetchFile(request),
  "npm:": (request) => require("web/local_files").fetchPackageFile(request),
};

/** A response whose body is there. */
async function finish(running, { bytes, source, ...head }) {
  const { Body } = require("web/body");
  const { received } = require("web/response");
  const { integrity, url } = running.request;
  const body = new Body({ bytes, source });
  running.body = body;
  if (integrity !== "") await require("web/http_fetch").requireIntegrity(body.clone(), integrity);
  const bare = require("web/http_fetch").withoutFragment(url);
  running.end();
  const { method } = running.request;
  return received({
    url: bare, statusText: "OK", ...head, body: method === "HEAD" ? null : body,
  });
}

function fetchData({ url }, href) {
  const found = require("web/data_url").readDataUrl(require("web/http_fetch").withoutFragment(url));
  if (found === null) throw new TypeError(`fetch: '${href}' is no data: URL`);
  return {
    __proto__: null, bytes: found.bytes, status: 200, headers: [["Content-Type", found.type]],
  };
}

function fetchBlob({ headers, method, url }, href) {
  if (method !== "GET") throw new TypeError(`fetch: a blob: URL can't be asked with ${method}`);
  if (url.blob === undefined) throw new TypeError(`fetch: there is no blob for '${href}'`);
  const { bytes, type } = require("web/blob").contentOf(url.blob);
  return require("web/ranges").respond(bytes, type, headers);
}

module.exports = { fetch };

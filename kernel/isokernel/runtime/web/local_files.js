"use strict";
// Files of the context's folder, which relative URLs are: `fetch("data.csv")`.
const { lastIndexOf, replaceAll, slice, then, toLowerCase } = require("intrinsics");

const { TypeError, Uint8Array, decodeURIComponent } = globalThis;
const noop = () => {};
const TYPES = {
  __proto__: null,
  arrow: "application/vnd.apache.arrow.file", css: "text/css", csv: "text/csv",
  geojson: "application/geo+json", gif: "image/gif", gz: "application/gzip", htm: "text/html",
  html: "text/html", jpeg: "image/jpeg", jpg: "image/jpeg", js: "text/javascript",
  json: "application/json", md: "text/markdown", mjs: "text/javascript",
  parquet: "application/vnd.apache.parquet", pdf: "application/pdf", png: "image/png",
  svg: "image/svg+xml", tsv: "text/tab-separated-values", txt: "text/plain",
  wasm: "application/wasm", webp: "image/webp", xml: "text/xml", zip: "application/zip",
};

/** The path in the folder that a file: URL names. */
function pathOf(url) {
  if (url.host !== "") throw new TypeError(`fetch: '${url.href}' is a file of another machine`);
  try {
    return decodeURIComponent(replaceAll(url.pathname, "%2F", "%252F"));
  } catch {
    throw new TypeError(`fetch: '${url.href}' is no path`);
  }
}

function typeOf(path) {
  const name = slice(path, lastIndexOf(path, "/") + 1);
  return TYPES[toLowerCase(slice(name, lastIndexOf(name, ".") + 1))] ?? null;
}

function failure(error) {
  if (error.code === "capability_denied") return error;
  return new TypeError(error.message, { cause: error });
}

/** The response for a request whose URL is a file's. */
async function fetchFile({ method, url, headers }) {
  const { call } = require("capabilities");
  const path = pathOf(url);
  if (method !== "GET" && method !== "HEAD") {
    throw new TypeError(`fetch: a file can't be asked with ${method}`);
  }
  let loaded;
  try {
    loaded = await call("files.load", { __proto__: null, path });
  } catch (error) {
    throw failure(error);
  }
  const { size, handle } = loaded.value;
  const bytes = new Uint8Array(loaded.data ?? 0);
  const type = typeOf(path);
  if (handle === null) return require("web/ranges").respond(bytes, type, headers);
  const list = [["Content-Length", `${size}`]];
  if (type !== null) list[1] = ["Content-Type", type];
  return { __proto__: null, source: rest(call, handle, bytes), status: 200, headers: list };
}

/** The response for a file of a package: `new URL("data.wasm", import.meta.url)`. */
async function fetchPackageFile({ method, url, headers }) {
  const { call } = require("capabilities");
  if (method !== "GET" && method !== "HEAD") {
    throw new TypeError(`fetch: a package's file can't be asked with ${method}`);
  }
  let answer;
  try {
    answer = await call("modules.read", { __proto__: null, url: url.href });
  } catch (error) {
    throw failure(error);
  }
  const bytes = new Uint8Array(answer.data ?? 0);
  return require("web/ranges").respond(bytes, typeOf(url.pathname), headers);
}

/** The chunks of a large file, whose beginning is there. */
function rest(call, handle, beginning) {
  let first = beginning;
  let isOpen = true;
  const close = () => {
    if (isOpen) then(call("files.close", { __proto__: null, handle }), noop, noop);
    isOpen = false;
  };
  return {
    __proto__: null,
    next: async () => {
      const bytes = first;
      first = undefined;
      if (bytes !== undefined) return { __proto__: null, bytes };
      let data;
      try {
        ({ data } = await call("files.read", { __proto__: null, handle }));
      } catch (error) {
        throw failure(error);
      }
      if (data !== undefined && data.byteLength > 0) {
        return { __proto__: null, bytes: new Uint8Array(data) };
      }
      close();
      return undefined;
    },
    cancel: close,
  };
}

module.exports = { fetchFile, fetchPackageFile };

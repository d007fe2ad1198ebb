"use strict";
// node:url: the web's classes, file addresses, and the parser of old.

const { legacy } = require("vendor/node/url");

function failure(name, code, message) {
  const error = new globalThis[name](message);
  error.code = code;
  return error;
}

/** The path of a `file:` address. */
function fileURLToPath(address) {
  const url = typeof address === "string" ? new URL(address) : address;
  if (url?.protocol !== "file:") {
    throw failure("TypeError", "ERR_INVALID_URL_SCHEME", "The URL must be of scheme file");
  }
  if (/%2f/i.test(url.pathname)) {
    throw failure("TypeError", "ERR_INVALID_FILE_URL_PATH",
      "File URL path must not include encoded / characters");
  }
  return decodeURIComponent(url.pathname);
}

/** The address of a path. */
function pathToFileURL(path) {
  const { resolve } = require("vendor/node/core").path;
  const isFolder = `${path}`.endsWith("/");
  const whole = resolve(`${path}`);
  const url = new URL("file:///");
  url.pathname = (isFolder && whole !== "/" ? `${whole}/` : whole)
    .replace(/[%\\\n\r\t?#]/g, (found) => encodeURIComponent(found));
  return url;
}

/** What http.request takes. */
function urlToHttpOptions(url) {
  const { hostname, hash, search, pathname, href, protocol, port, username, password } = url;
  const options = { protocol, hostname: hostname.replace(/^\[|\]$/g, ""), hash, search, pathname,
    path: `${pathname}${search}`, href };
  if (port !== "") options.port = Number(port);
  if (username || password) {
    options.auth = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  }
  return options;
}

const nameIn = (text) => {
  try {
    return new URL(`http://${text}`).hostname;
  } catch {
    return "";
  }
};

module.exports = { ...legacy, URL, URLSearchParams, domainToASCII: nameIn,
  domainToUnicode: (text) => require("vendor/node/punycode").default.toUnicode(nameIn(text)),
  fileURLToPath, pathToFileURL, urlToHttpOptions };

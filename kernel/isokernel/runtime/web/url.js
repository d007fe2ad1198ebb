"use strict";
const { cloners, defineInspect } = require("web/idl");
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

module.exports = { URL, URLSearchParams };

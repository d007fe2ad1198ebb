"use strict";
const { cloners } = require("web/idl");
const { URLPattern } = require("vendor/urlpattern");

cloners.set(URLPattern, null);

module.exports = { URLPattern };

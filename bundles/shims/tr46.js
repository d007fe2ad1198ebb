// Stands in for tr46 inside the URL bundle and loads the tables for hosts that need them. The
// parser asks for those only: plain ASCII it lowercases by itself.
export function toASCII(domain, options) {
  return require("vendor/idna").toASCII(domain, options);
}

export function toUnicode(domain, options) {
  return require("vendor/idna").toUnicode(domain, options);
}

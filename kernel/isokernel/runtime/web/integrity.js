"use strict";
// Subresource integrity (https://w3c.github.io/webappsec-subresource-integrity/).
const { indexOf, slice, split, toBase64 } = require("intrinsics");

const STRENGTH = { __proto__: null, sha256: 1, sha384: 2, sha512: 3 };

/**
 * Whether bytes are those that integrity metadata names.
 *
 * @param {Uint8Array} bytes
 * @param {string} metadata hashes, of which those of the strongest kind count
 */
function matches(bytes, metadata) {
  const words = split(metadata, /[\t\n\f\r ]+/);
  let strongest = 0;
  let wanted = [];
  for (let i = 0; i < words.length; i++) {
    const hash = parseHash(words[i]);
    if (hash === undefined || STRENGTH[hash.algorithm] < strongest) continue;
    if (STRENGTH[hash.algorithm] > strongest) wanted = [];
    strongest = STRENGTH[hash.algorithm];
    wanted[wanted.length] = hash;
  }
  if (wanted.length === 0) return true;
  const digest = toBase64(require("vendor/hashes")[wanted[0].algorithm](bytes));
  for (let i = 0; i < wanted.length; i++) if (isSame(wanted[i].value, digest)) return true;
  return false;
}

/** Base64 may be that for URLs, and without its padding. */
function isSame(given, digest) {
  let at = 0;
  for (; at < digest.length && digest[at] !== "="; at++) {
    const letter = given[at] === "-" ? "+" : given[at] === "_" ? "/" : given[at];
    if (letter !== digest[at]) return false;
  }
  for (; at < given.length; at++) if (given[at] !== "=") return false;
  return true;
}

function parseHash(word) {
  const dash = indexOf(word, "-");
  if (dash < 0) return undefined;
  const algorithm = slice(word, 0, dash);
  if (!(algorithm in STRENGTH)) return undefined;
  const end = indexOf(word, "?");
  return { algorithm, value: slice(word, dash + 1, end < 0 ? word.length : end) };
}

module.exports = { matches };

"use strict";
// blob: URLs: names for blobs, as long as the context lives and nobody revokes them.
const { Map, indexOf, mapDelete, mapGet, mapSet, numberToString, slice } = require("intrinsics");
const { isBlob } = require("web/blob");

const { TypeError } = globalThis;
const blobs = new Map();

function newId() {
  const bytes = host.random(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  let id = "";
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) id += "-";
    id += slice(numberToString(bytes[i] + 256, 16), 1);
  }
  return id;
}

function createObjectURL(blob) {
  if (!isBlob(blob)) {
    throw new TypeError("Failed to execute 'createObjectURL' on 'URL': parameter 1 is not of " +
      "type 'Blob'.");
  }
  const url = `blob:null/${newId()}`;
  mapSet(blobs, url, blob);
  return url;
}

function revokeObjectURL(url) {
  mapDelete(blobs, withoutFragment(`${url}`));
}

function withoutFragment(url) {
  const at = indexOf(url, "#");
  return at < 0 ? url : slice(url, 0, at);
}

/** The blob that a URL names; undefined if there is none. */
const blobAt = (url) => mapGet(blobs, withoutFragment(url));

module.exports = { blobAt, createObjectURL, revokeObjectURL };

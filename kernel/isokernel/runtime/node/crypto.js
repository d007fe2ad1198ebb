"use strict";
// node:crypto: digests, keys made of passwords and random values; no ciphers, no signatures.

const hashes = require("vendor/node/hashes");
const { Buffer } = require("node/buffer");
const { refusedClass, refusedFunction } = require("node/stubs");
const { Transform } = require("node/stream");

const webcrypto = globalThis.crypto;
const RANDOM_MAX = 65536; // at a time
const INT_RANGE_MAX = 2 ** 48;

const HASHES = { __proto__: null, md5: "md5", ripemd160: "ripemd160", rmd160: "ripemd160",
  sha1: "sha1", sha224: "sha224", sha256: "sha256", sha384: "sha384", sha512: "sha512",
  "sha512-256": "sha512_256", "sha3-224": "sha3_224", "sha3-256": "sha3_256",
  "sha3-384": "sha3_384", "sha3-512": "sha3_512", blake2b512: "blake2b", blake2s256: "blake2s" };

function failure(code, message, name = "Error") {
  const error = new globalThis[name](message);
  error.code = code;
  return error;
}

function hashOf(name) {
  const known = HASHES[`${name}`.toLowerCase().replace(/^rsa-/, "")];
  if (known === undefined) {
    throw failure("ERR_CRYPTO_INVALID_DIGEST", `Invalid digest: ${name}`, "TypeError");
  }
  return hashes[known];
}

function bytesOf(data, encoding) {
  if (typeof data === "string") return new Uint8Array(Buffer.from(data, encoding));
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  throw failure("ERR_INVALID_ARG_TYPE", "The data must be a string or bytes", "TypeError");
}

const encoded = (bytes, encoding) => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return encoding === undefined || encoding === "buffer" ? buffer : buffer.toString(encoding);
};

/** What Hash and Hmac have in common: bytes in, a digest out, once. */
class Digest extends Transform {
  #state;
  #isOver = false;

  constructor(state) {
    super();
    this.#state = state;
  }

  get state() {
    return this.#state;
  }

  update(data, encoding) {
    if (this.#isOver) throw failure("ERR_CRYPTO_HASH_FINALIZED", "Digest already called");
    this.#state.update(bytesOf(data, encoding));
    return this;
  }

  digest(encoding) {
    if (this.#isOver) throw failure("ERR_CRYPTO_HASH_FINALIZED", "Digest already called");
    this.#isOver = true;
    return encoded(this.#state.digest(), encoding);
  }

  _transform(part, encoding, callback) {
    this.update(part, encoding);
    callback();
  }

  _flush(callback) {
    this.push(this.digest());
    callback();
  }
}

class Hash extends Digest {
  copy() {
    return new Hash(this.state.clone());
  }
}

class Hmac extends Digest {}

const createHash = (name) => new Hash(hashOf(name).create());
const createHmac = (name, key) => new Hmac(hashes.hmac.create(hashOf(name), bytesOf(key)));
const hash = (name, data, encoding = "hex") => encoded(hashOf(name)(bytesOf(data)), encoding);

// -- random values ---------------------------------------------------------------------------

function randomFillSync(target, offset = 0, size = undefined) {
  const bytes = bytesOf(target);
  const end = size === undefined ? bytes.length : offset + size;
  for (let at = offset; at < end; at += RANDOM_MAX) {
    webcrypto.getRandomValues(bytes.subarray(at, Math.min(at + RANDOM_MAX, end)));
  }
  return target;
}

/** Answers by a callback if there is one. */
function answered(make, callback) {
  if (typeof callback !== "function") return make();
  let value;
  try {
    value = make();
  } catch (error) {
    process.nextTick(callback, error);
    return undefined;
  }
  process.nextTick(callback, null, value);
  return undefined;
}

const randomBytes = (size, callback) =>
  answered(() => randomFillSync(Buffer.alloc(size)), callback);

function randomFill(target, ...rest) {
  const callback = rest.pop();
  return answered(() => randomFillSync(target, ...rest), callback);
}

function randomInt(low, high, callback) {
  if (high === undefined || typeof high === "function") [low, high, callback] = [0, low, high];
  return answered(() => {
    const range = high - low;
    if (!(range > 0 && range <= INT_RANGE_MAX)) {
      throw failure("ERR_OUT_OF_RANGE", `The range of ${range} is out of bounds`, "RangeError");
    }
    const limit = INT_RANGE_MAX - (INT_RANGE_MAX % range);
    for (;;) {
      const value = randomBytes(6).readUIntBE(0, 6);
      if (value < limit) return low + (value % range);
    }
  }, callback);
}

function timingSafeEqual(one, other) {
  const left = bytesOf(one);
  const right = bytesOf(other);
  if (left.length !== right.length) {
    throw failure("ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH",
      "Input buffers must have the same byte length", "RangeError");
  }
  let difference = 0;
  for (let i = 0; i < left.length; i++) difference |= left[i] ^ right[i];
  return difference === 0;
}

// -- keys ------------------------------------------------------------------------------------

const pbkdf2Sync = (password, salt, iterations, length, digest) =>
  Buffer.from(hashes.pbkdf2(hashOf(digest), bytesOf(password), bytesOf(salt),
    { c: iterations, dkLen: length }));

function pbkdf2(password, salt, iterations, length, digest, callback) {
  answered(() => pbkdf2Sync(password, salt, iterations, length, digest), callback);
}

function scryptSync(password, salt, length, options = {}) {
  const N = options.N ?? options.cost ?? 16384;
  const r = options.r ?? options.blockSize ?? 8;
  const p = options.p ?? options.parallelization ?? 1;
  return Buffer.from(hashes.scrypt(bytesOf(password), bytesOf(salt), { N, r, p, dkLen: length }));
}

function scrypt(password, salt, length, options, callback = options) {
  const given = typeof options === "function" ? {} : options;
  answered(() => scryptSync(password, salt, length, given), callback);
}

const hkdfSync = (digest, key, salt, info, length) =>
  hashes.hkdf(hashOf(digest), bytesOf(key), bytesOf(salt), bytesOf(info), length).buffer;

function hkdf(digest, key, salt, info, length, callback) {
  answered(() => hkdfSync(digest, key, salt, info, length), callback);
}

const ABSENT = ["createCipheriv", "createDecipheriv", "createDiffieHellman", "createECDH",
  "createPrivateKey", "createPublicKey", "createSecretKey", "createSign", "createVerify",
  "diffieHellman", "generateKey", "generateKeyPair", "generateKeyPairSync", "generateKeySync",
  "privateDecrypt", "privateEncrypt", "publicDecrypt", "publicEncrypt", "sign", "verify"];
const CLASSES = ["Cipheriv", "Decipheriv", "KeyObject", "Sign", "Verify", "X509Certificate"];

module.exports = {
  Hash,
  Hmac,
  constants: {},
  createHash,
  createHmac,
  getCiphers: () => [],
  getCurves: () => [],
  getFips: () => 0,
  getHashes: () => Object.keys(HASHES),
  getRandomValues: (target) => webcrypto.getRandomValues(target),
  hash,
  hkdf,
  hkdfSync,
  pbkdf2,
  pbkdf2Sync,
  pseudoRandomBytes: randomBytes,
  randomBytes,
  randomFill,
  randomFillSync,
  randomInt,
  randomUUID: () => webcrypto.randomUUID(),
  scrypt,
  scryptSync,
  subtle: webcrypto.subtle,
  timingSafeEqual,
  webcrypto,
};
for (const name of ABSENT) module.exports[name] = refusedFunction("crypto", name);
for (const name of CLASSES) module.exports[name] = refusedClass("crypto", name);

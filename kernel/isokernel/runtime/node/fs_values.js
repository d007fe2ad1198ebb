"use strict";
// What node:fs gives out and takes: errors, constants, Stats and Dirent, paths and flags.

const { Buffer } = require("node/buffer");

const KIND = 0o170000;

const constants = {
  UV_FS_SYMLINK_DIR: 1, UV_FS_SYMLINK_JUNCTION: 2,
  O_RDONLY: 0, O_WRONLY: 1, O_RDWR: 2,
  UV_DIRENT_UNKNOWN: 0, UV_DIRENT_FILE: 1, UV_DIRENT_DIR: 2, UV_DIRENT_LINK: 3,
  UV_DIRENT_FIFO: 4, UV_DIRENT_SOCKET: 5, UV_DIRENT_CHAR: 6, UV_DIRENT_BLOCK: 7,
  EXTENSIONLESS_FORMAT_JAVASCRIPT: 0, EXTENSIONLESS_FORMAT_WASM: 1,
  S_IFMT: KIND, S_IFREG: 0o100000, S_IFDIR: 0o040000, S_IFCHR: 0o020000, S_IFBLK: 0o060000,
  S_IFIFO: 0o010000, S_IFLNK: 0o120000, S_IFSOCK: 0o140000,
  O_CREAT: 0o100, O_EXCL: 0o200, UV_FS_O_FILEMAP: 0, O_NOCTTY: 0o400, O_TRUNC: 0o1000,
  O_APPEND: 0o2000, O_DIRECTORY: 0o200000, O_NOATIME: 0o1000000, O_NOFOLLOW: 0o400000,
  O_SYNC: 0o4010000, O_DSYNC: 0o10000, O_DIRECT: 0o40000, O_NONBLOCK: 0o4000,
  S_IRWXU: 0o700, S_IRUSR: 0o400, S_IWUSR: 0o200, S_IXUSR: 0o100,
  S_IRWXG: 0o070, S_IRGRP: 0o040, S_IWGRP: 0o020, S_IXGRP: 0o010,
  S_IRWXO: 0o007, S_IROTH: 0o004, S_IWOTH: 0o002, S_IXOTH: 0o001,
  F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1,
  UV_FS_COPYFILE_EXCL: 1, COPYFILE_EXCL: 1, UV_FS_COPYFILE_FICLONE: 2, COPYFILE_FICLONE: 2,
  UV_FS_COPYFILE_FICLONE_FORCE: 4, COPYFILE_FICLONE_FORCE: 4,
};

// -- errors ---------------------------------------------------------------------------------

const SYSTEM = { // the system's number, and libuv's words
  __proto__: null,
  EACCES: [13, "permission denied"],
  EAGAIN: [11, "resource temporarily unavailable"],
  EBADF: [9, "bad file descriptor"],
  EBUSY: [16, "resource busy or locked"],
  EDQUOT: [122, "disk quota exceeded"],
  EEXIST: [17, "file already exists"],
  EFBIG: [27, "file too large"],
  EILSEQ: [84, "illegal byte sequence"],
  EINVAL: [22, "invalid argument"],
  EIO: [5, "i/o error"],
  EISDIR: [21, "illegal operation on a directory"],
  ELOOP: [40, "too many symbolic links encountered"],
  EMFILE: [24, "too many open files"],
  ENAMETOOLONG: [36, "name too long"],
  ENOENT: [2, "no such file or directory"],
  ENOSPC: [28, "no space left on device"],
  ENOTDIR: [20, "not a directory"],
  ENOTEMPTY: [39, "directory not empty"],
  EPERM: [1, "operation not permitted"],
  EROFS: [30, "read-only file system"],
  ETXTBSY: [26, "text file is busy"],
};

/**
 * An error as the system's calls give them in Node.js.
 * @param {string} code
 * @param {string} syscall the system's call, as Node.js names it
 * @param {string} [path]
 * @param {string} [dest] the second path
 * @param {string} [detail] what more is known
 */
function systemError(code, syscall, path, dest, detail) {
  const [number, words] = SYSTEM[code];
  let message = `${code}: ${words}, ${syscall}`;
  if (path !== undefined) message += ` '${path}'`;
  if (dest !== undefined) message += ` -> '${dest}'`;
  if (detail !== undefined) message += ` (${detail})`;
  const error = new Error(message);
  error.errno = -number;
  error.code = code;
  error.syscall = syscall;
  if (path !== undefined) error.path = path;
  if (dest !== undefined) error.dest = dest;
  return error;
}

/** What a failed call is in Node.js; what isn't of the system stays as it is: a denial. */
function translated(error, { syscall, path, dest }) {
  if (SYSTEM[error?.code] === undefined) return error;
  const made = systemError(error.code, syscall, path, dest, error.detail);
  if (error.setting !== undefined) made.setting = error.setting;
  return made;
}

/** An error of Node.js's own, whose code is shown with its name. */
function nodeError(Class, code, message) {
  const error = new Class(message);
  error.code = code;
  const { stack } = error;
  Object.defineProperty(error, "stack", { value: stack.replace(error.name, `${error.name} [${code}]`),
    writable: true, configurable: true });
  return error;
}

function received(value) {
  if (value == null) return ` Received ${value}`;
  if (typeof value === "function") return ` Received function ${value.name}`;
  if (typeof value === "object") {
    const name = value.constructor?.name;
    return name ? ` Received an instance of ${name}` : " Received an object";
  }
  let text = typeof value === "bigint" ? `${value}n` : String(value);
  if (text.length > 28) text = `${text.slice(0, 25)}...`;
  return ` Received type ${typeof value} (${typeof value === "string" ? `'${text}'` : text})`;
}

const wrongType = (name, expected, value) => nodeError(TypeError, "ERR_INVALID_ARG_TYPE",
  `The "${name}" ${name.includes(".") ? "property" : "argument"} must be ${expected}.${
    received(value)}`);

const wrongValue = (name, value, why = "is invalid") => nodeError(TypeError,
  "ERR_INVALID_ARG_VALUE", `The ${name.includes(".") ? "property" : "argument"} '${name}' ${why}.` +
  ` Received ${typeof value === "string" ? `'${value.replaceAll("\0", "\\x00")}'` : String(value)}`);

const outOfRange = (name, expected, value) => nodeError(RangeError, "ERR_OUT_OF_RANGE",
  `The value of "${name}" is out of range. It must be ${expected}. Received ${String(value)}`);

function integer(value, name, min = 0, max = Number.MAX_SAFE_INTEGER) {
  if (typeof value === "bigint") value = Number(value);
  if (typeof value !== "number") throw wrongType(name, "of type number", value);
  if (!Number.isInteger(value)) throw outOfRange(name, "an integer", value);
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value);
  return value;
}

// -- arguments ------------------------------------------------------------------------------

/** A path as text: a string, bytes or a `file:` URL. */
function pathOf(path, name = "path") {
  let text = path;
  if (path instanceof URL) {
    if (path.protocol !== "file:") {
      throw nodeError(TypeError, "ERR_INVALID_URL_SCHEME", "The URL must be of scheme file");
    }
    if (path.hostname !== "") {
      throw nodeError(TypeError, "ERR_INVALID_FILE_URL_HOST",
        'File URL host must be "localhost" or empty on linux');
    }
    if (/%2f/i.test(path.pathname)) {
      throw nodeError(TypeError, "ERR_INVALID_FILE_URL_PATH",
        "File URL path must not include encoded / characters");
    }
    text = decodeURIComponent(path.pathname);
  } else if (path instanceof Uint8Array) text = Buffer.from(path).toString("utf8");
  if (typeof text !== "string") {
    throw wrongType(name, "of type string or an instance of Buffer or URL", path);
  }
  if (text.includes("\0")) {
    throw wrongValue(name, text, "must be a string, Uint8Array, or URL without null bytes");
  }
  return text.toWellFormed();
}

const FLAGS = {
  __proto__: null,
  r: "O_RDONLY", rs: "O_RDONLY O_SYNC", sr: "O_RDONLY O_SYNC", "r+": "O_RDWR",
  "rs+": "O_RDWR O_SYNC", "sr+": "O_RDWR O_SYNC",
  w: "O_TRUNC O_CREAT O_WRONLY", wx: "O_TRUNC O_CREAT O_WRONLY O_EXCL",
  xw: "O_TRUNC O_CREAT O_WRONLY O_EXCL", "w+": "O_TRUNC O_CREAT O_RDWR",
  "wx+": "O_TRUNC O_CREAT O_RDWR O_EXCL", "xw+": "O_TRUNC O_CREAT O_RDWR O_EXCL",
  a: "O_APPEND O_CREAT O_WRONLY", ax: "O_APPEND O_CREAT O_WRONLY O_EXCL",
  xa: "O_APPEND O_CREAT O_WRONLY O_EXCL", as: "O_APPEND O_CREAT O_WRONLY O_SYNC",
  sa: "O_APPEND O_CREAT O_WRONLY O_SYNC", "a+": "O_APPEND O_CREAT O_RDWR",
  "ax+": "O_APPEND O_CREAT O_RDWR O_EXCL", "xa+": "O_APPEND O_CREAT O_RDWR O_EXCL",
  "as+": "O_APPEND O_CREAT O_RDWR O_SYNC", "sa+": "O_APPEND O_CREAT O_RDWR O_SYNC",
};

/** The numbers of flags as text or number: how a file is opened. */
function flagsOf(flags, name = "flags") {
  if (flags == null) return constants.O_RDONLY;
  if (typeof flags === "number") return integer(flags, name, 0, 0x7fffffff);
  const found = FLAGS[flags];
  if (found === undefined) throw wrongValue(name, flags);
  return found.split(" ").reduce((bits, one) => bits | constants[one], 0);
}

/** Permissions, as a number or in octal. */
function modeOf(mode, usual, name = "mode") {
  if (mode == null) return usual;
  if (typeof mode === "string") {
    if (!/^[0-7]+$/.test(mode)) {
      throw wrongValue(name, mode, "must be a 32-bit unsigned integer or an octal string");
    }
    return parseInt(mode, 8);
  }
  return integer(mode, name, 0, 0xffffffff);
}

/** Options that may be an encoding alone. */
function optionsOf(options, usual) {
  if (options == null || typeof options === "function") return usual;
  if (typeof options === "string") options = { encoding: options };
  if (typeof options !== "object") throw wrongType("options", "of type string or Object", options);
  const { encoding, signal } = options;
  if (encoding != null && encoding !== "buffer" && !Buffer.isEncoding(encoding)) {
    throw wrongValue("encoding", encoding, "is invalid encoding");
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrongType("options.signal", "an instance of AbortSignal", signal);
  }
  return { ...usual, ...options };
}

/** Bytes to write. */
function bytesOf(data, encoding, name = "data") {
  if (typeof data === "string") return Buffer.from(data, encoding ?? "utf8");
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  throw wrongType(name, "of type string or an instance of Buffer, TypedArray, or DataView", data);
}

/** Bytes as they were asked for: as text in an encoding, or as a Buffer. */
function decoded(bytes, encoding) {
  return encoding == null || encoding === "buffer" ? bytes : bytes.toString(encoding);
}

/** Stops when a signal says so. */
function checkSignal(signal) {
  if (signal?.aborted !== true) return;
  const error = new Error("The operation was aborted", { cause: signal.reason });
  error.name = "AbortError";
  error.code = "ABORT_ERR";
  throw error;
}

// -- what is there --------------------------------------------------------------------------

const KINDS = { isBlockDevice: "S_IFBLK", isCharacterDevice: "S_IFCHR", isDirectory: "S_IFDIR",
  isFIFO: "S_IFIFO", isFile: "S_IFREG", isSocket: "S_IFSOCK", isSymbolicLink: "S_IFLNK" };

const addKinds = (Class, modeOfOne) => {
  for (const [name, bits] of Object.entries(KINDS)) {
    Class.prototype[name] = { [name]() {
      return (Number(modeOfOne(this)) & KIND) === constants[bits];
    } }[name];
  }
};

const TIMES = ["atime", "mtime", "ctime", "birthtime"];

class Stats {
  constructor(facts, bigint = false) {
    const number = bigint ? (value) => BigInt(Math.trunc(value)) : (value) => value;
    const { mode, size, nlink, ino, blocks } = facts;
    const times = { ...facts, birthtimeMs: Math.min(facts.mtimeMs, facts.ctimeMs) };
    const fields = { dev: 0, mode, nlink, uid: 0, gid: 0, rdev: 0, blksize: 4096, ino, size, blocks };
    for (const name of Object.keys(fields)) this[name] = number(fields[name]);
    for (const name of TIMES) this[`${name}Ms`] = number(times[`${name}Ms`]);
    for (const name of TIMES) {
      const ms = times[`${name}Ms`];
      if (bigint) this[`${name}Ns`] = BigInt(Math.round(ms * 1e3)) * 1000n;
      this[name] = new Date(ms + 0.5);
    }
  }
}
addKinds(Stats, (stats) => stats.mode);
class BigIntStats extends Stats {}

const MODES = { file: constants.S_IFREG, folder: constants.S_IFDIR, link: constants.S_IFLNK,
  other: constants.S_IFIFO };
const modes = new WeakMap();

class Dirent {
  constructor(name, parentPath, kind) {
    this.name = name;
    this.parentPath = parentPath;
    this.path = parentPath;
    modes.set(this, MODES[kind]);
  }
}
addKinds(Dirent, (entry) => modes.get(entry));

module.exports = { BigIntStats, Dirent, Stats, bytesOf, checkSignal, constants, decoded, flagsOf,
  integer, modeOf, nodeError, optionsOf, outOfRange, pathOf, systemError, translated, wrongType,
  wrongValue };

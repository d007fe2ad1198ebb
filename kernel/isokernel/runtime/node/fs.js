"use strict";
// node:fs: the files of the context's folder, which is `/` for code. What there is not (links,
// owners, watching) throws when it is called.

const { Buffer } = require("node/buffer");
const { begin, operations, run, runNow } = require("node/fs_operations");
const { refusedFunction } = require("node/stubs");
const { BigIntStats, Dirent, Stats, constants, nodeError, wrongType } = require("node/fs_values");

const CUSTOM = Symbol.for("nodejs.util.promisify.custom");
const MISSING = ("chmod chown fchmod fchown futimes lchmod lchown link lutimes openAsBlob opendir " +
  "readlink readv statfs symlink unwatchFile utimes watch watchFile writev").split(" ");
const NO_SYNC = new Set(["openAsBlob", "unwatchFile", "watch", "watchFile"]);

const fs = {};

/** The callback of a call: the last of its arguments. */
function callbackOf(given, name = "cb") {
  const callback = given.length > 1 ? given.pop() : undefined;
  if (typeof callback !== "function") throw wrongType(name, "of type function", callback);
  return callback;
}

/** Calls back with what comes of an operation; what is wrong with its arguments is thrown. */
function answer(operation, callback, results = (value) => [value]) {
  let first;
  try {
    first = begin(operation);
  } catch (error) {
    if (error.errno === undefined) throw error;
    process.nextTick(callback, error);
    return;
  }
  run(operation, first).then(
    (value) => process.nextTick(callback, null, ...results(value)),
    (error) => process.nextTick(callback, error),
  );
}

for (const [name, operation] of Object.entries(operations)) {
  fs[`${name}Sync`] = { [`${name}Sync`]: (...given) => runNow(operation(...given)) }[`${name}Sync`];
  fs[name] = {
    [name](...given) {
      const callback = callbackOf(given);
      answer(operation(...given), callback, (value) => (value === undefined ? [] : [value]));
    },
  }[name];
}

fs.existsSync = function existsSync(path) {
  return runNow(operations.exists(path));
};
fs.exists = function exists(path, callback) {
  if (typeof callback !== "function") throw wrongType("cb", "of type function", callback);
  run(operations.exists(path)).then((found) => process.nextTick(callback, found));
};
fs.exists[CUSTOM] = (path) => run(operations.exists(path));

/** The forms of `read`: buffer and numbers, or some of them in an object. */
function readArguments(buffer, offset, length, position) {
  if (buffer !== null && typeof buffer === "object" && !ArrayBuffer.isView(buffer)) {
    ({ buffer = Buffer.alloc(16384), offset, length, position } = buffer);
  } else if (offset !== null && typeof offset === "object") ({ offset, length, position } = offset);
  buffer ??= Buffer.alloc(16384);
  return [buffer, offset ?? 0, length ?? undefined, position ?? null];
}

fs.readSync = (fd, ...given) => runNow(operations.read(fd, ...readArguments(...given)));
fs.read = function read(fd, ...given) {
  const callback = callbackOf(given);
  const asked = readArguments(...given);
  answer(operations.read(fd, ...asked), callback, (size) => [size, asked[0]]);
};
fs.read[CUSTOM] = async (fd, ...given) => {
  const asked = readArguments(...given);
  return { bytesRead: await run(operations.read(fd, ...asked)), buffer: asked[0] };
};
fs.write = function write(fd, data, ...given) {
  const callback = callbackOf(given);
  answer(operations.write(fd, data, ...given), callback, (size) => [size, data]);
};
fs.write[CUSTOM] = async (fd, data, ...given) =>
  ({ bytesWritten: await run(operations.write(fd, data, ...given)), buffer: data });

fs.realpath.native = fs.realpath;
fs.realpathSync.native = fs.realpathSync;

for (const name of MISSING) {
  fs[name] = refusedFunction("fs", name);
  if (!NO_SYNC.has(name)) fs[`${name}Sync`] = refusedFunction("fs", `${name}Sync`);
}

const { F_OK, R_OK, W_OK, X_OK } = constants;
Object.assign(fs, { BigIntStats, Dirent, F_OK, R_OK, Stats, W_OK, X_OK, constants });

const lazily = (name, load) => Object.defineProperty(fs, name, {
  get: load, enumerable: true, configurable: true });
lazily("promises", () => require("node/fs_promises"));
for (const name of ["ReadStream", "WriteStream", "createReadStream", "createWriteStream"]) {
  lazily(name, () => require("node/fs_streams")[name]);
}
lazily("FileReadStream", () => fs.ReadStream);
lazily("FileWriteStream", () => fs.WriteStream);

module.exports = fs;

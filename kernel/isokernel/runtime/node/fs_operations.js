"use strict";
// What node:fs does, once for its three forms: each operation is a generator that yields the calls
// it makes. They are made one after the other, either waiting for each (Sync), or not.

const { call, callNow } = require("capabilities");
const { Buffer } = require("node/buffer");
const values = require("node/fs_values");

const { bytesOf, checkSignal, constants, decoded, flagsOf, integer, modeOf, optionsOf, pathOf,
  systemError, translated, wrongType } = values;

const CHUNK_BYTES = 1 << 20; // files.read and files.write take so much at once
const FILE_MODE = 0o666;
const FOLDER_MODE = 0o777;

// -- running --------------------------------------------------------------------------------

const Generator = Object.getPrototypeOf(function* () {}.prototype);
const { bind, call: invoke } = Function.prototype;
const uncurry = bind.bind(invoke);
const next = uncurry(Generator.next);
const raise = uncurry(Generator.throw);
// What `yield*` asks a generator for, whatever user code makes of all generators.
const Steps = { __proto__: null, next: Generator.next, return: Generator.return,
  throw: Generator.throw, [Symbol.iterator]() {
    return this;
  } };

/** Runs an operation to its end and returns what comes of it. */
function runNow(operation) {
  let step = next(operation);
  while (!step.done) {
    const asked = step.value;
    let answer;
    try {
      answer = callNow(asked.name, asked.args, asked.data);
    } catch (error) {
      step = raise(operation, translated(error, asked));
      continue;
    }
    step = next(operation, answer);
  }
  return step.value;
}

/** Runs an operation, and gives a promise for what comes of it. */
async function run(operation, step = next(operation)) {
  while (!step.done) {
    const asked = step.value;
    let answer;
    try {
      answer = await call(asked.name, asked.args, asked.data);
    } catch (error) {
      step = raise(operation, translated(error, asked));
      continue;
    }
    step = next(operation, answer);
  }
  return step.value;
}

/** A call of the host, with what its error is to say. */
function* ask(syscall, name, args, data) {
  const { path, to, shown = path, shownTo = to } = args;
  const { shown: _, shownTo: __, ...sent } = args;
  if (sent.path === "" || sent.to === "") throw systemError("ENOENT", syscall, shown, shownTo);
  return yield { name: `files.${name}`, args: sent, data, syscall, path: shown, dest: shownTo };
}

const isDescriptor = (file) => typeof file === "number";
const descriptor = (fd) => integer(fd, "fd", 0, 0x7fffffff);

// -- open files -----------------------------------------------------------------------------

function* open(path, flags = "r", mode = undefined) {
  path = pathOf(path);
  const args = { path, flags: flagsOf(flags), mode: modeOf(mode, FILE_MODE) };
  return (yield* ask("open", "open", args)).value;
}

function* close(fd) {
  yield* ask("close", "close", { handle: descriptor(fd) });
}

/** Where to read from or write to: null goes on after what was read or written last. */
function positionOf(position) {
  if (position == null || position === -1 || position === -1n) return null;
  return integer(position, "position");
}

/** Reads into a view; the bytes that were read. */
function* read(fd, view, offset = 0, length = view.byteLength - offset, position = null) {
  descriptor(fd);
  if (!ArrayBuffer.isView(view)) {
    throw wrongType("buffer", "an instance of Buffer, TypedArray, or DataView", view);
  }
  offset = integer(offset, "offset", 0, view.byteLength);
  length = integer(length, "length", 0, view.byteLength - offset);
  position = positionOf(position);
  if (length === 0) return 0;
  const args = { handle: fd, size: Math.min(length, CHUNK_BYTES) };
  if (position !== null) args.position = position;
  const { data } = yield* ask("read", "read", args);
  const bytes = new Uint8Array(data ?? 0);
  new Uint8Array(view.buffer, view.byteOffset + offset, length).set(bytes);
  return bytes.length;
}

/** Writes all bytes; how many there were. */
function* writeBytes(fd, bytes, position = null) {
  descriptor(fd);
  position = positionOf(position);
  let done = 0;
  do {
    const args = { handle: fd };
    if (position !== null) args.position = position + done;
    const chunk = bytes.subarray(done, done + CHUNK_BYTES);
    yield* ask("write", "write", args, chunk);
    done += chunk.length;
  } while (done < bytes.length);
  return bytes.length;
}

/** The bytes that `write(fd, buffer, offset, length, position)` and its other forms write. */
function writeArguments(data, offset, length, position) {
  if (typeof data === "string") {
    return { bytes: Buffer.from(data, length ?? "utf8"), position: offset };
  }
  if (!ArrayBuffer.isView(data)) {
    throw wrongType("buffer",
      "of type string or an instance of Buffer, TypedArray, or DataView", data);
  }
  if (offset !== null && typeof offset === "object") ({ offset, length, position } = offset);
  offset = integer(offset ?? 0, "offset", 0, data.byteLength);
  length = integer(length ?? data.byteLength - offset, "length", 0, data.byteLength - offset);
  return { bytes: new Uint8Array(data.buffer, data.byteOffset + offset, length), position };
}

function* write(fd, data, offset, length, position) {
  const asked = writeArguments(data, offset, length, position);
  return yield* writeBytes(fd, asked.bytes, asked.position);
}

function* readRest(fd, chunks, signal) {
  for (;;) {
    checkSignal(signal);
    const { data } = yield* ask("read", "read", { handle: fd, size: CHUNK_BYTES });
    if (data === undefined || data.byteLength === 0) return chunks;
    chunks.push(Buffer.from(data));
  }
}

// -- whole files ----------------------------------------------------------------------------

function* readFile(file, options) {
  const { encoding, flag, signal } = optionsOf(options, { flag: "r" });
  checkSignal(signal);
  const chunks = [];
  if (isDescriptor(file)) yield* readRest(descriptor(file), chunks, signal);
  else {
    const path = pathOf(file);
    const flags = flagsOf(flag, "options.flag");
    if (flags !== constants.O_RDONLY) yield* close(yield* open(path, flags));
    const { value, data } = yield* load(path);
    if (data !== undefined) chunks.push(Buffer.from(data));
    const { handle } = value;
    if (handle !== null) {
      try {
        yield* readRest(handle, chunks, signal);
      } finally {
        yield* close(handle);
      }
    }
  }
  const bytes = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  return decoded(bytes, encoding);
}

/** What packages read beside their code: `readFileSync(join(__dirname, "data.css"))`. */
const PACKAGE_FILE = /^\/?(?=npm:\/)/;

function* loadPackageFile(path) {
  const url = path.replace(PACKAGE_FILE, "");
  try {
    const { data } = yield { name: "modules.read", args: { url }, syscall: "open", path };
    return { value: { handle: null }, data };
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw systemError("ENOENT", "open", path);
  }
}

function* load(path) {
  if (PACKAGE_FILE.test(path)) return yield* loadPackageFile(path);
  try {
    return yield* ask("open", "load", { path });
  } catch (error) {
    if (error.code !== "EISDIR") throw error;
    throw systemError("EISDIR", "read"); // Node.js can open a folder
  }
}

function* writeFile(file, data, options) {
  const { encoding, mode, flag, signal } = optionsOf(options, { flag: "w", encoding: "utf8" });
  const bytes = bytesOf(data, encoding);
  checkSignal(signal);
  if (isDescriptor(file)) return void (yield* writeBytes(descriptor(file), bytes));
  const path = pathOf(file);
  const flags = flagsOf(flag, "options.flag");
  const { O_APPEND, O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;
  const args = { path, mode: modeOf(mode, FILE_MODE) };
  if ((flags & ~O_EXCL) === (O_TRUNC | O_CREAT | O_WRONLY)) {
    yield* store({ ...args, exclusive: (flags & O_EXCL) !== 0 }, bytes, signal);
  } else if (flags === (O_APPEND | O_CREAT | O_WRONLY) && bytes.length <= CHUNK_BYTES) {
    yield* ask("open", "append", args, bytes);
  } else {
    const fd = yield* open(path, flags, mode);
    try {
      yield* writeBytes(fd, bytes);
    } finally {
      yield* close(fd);
    }
  }
  return undefined;
}

/** Writes a file that appears when all of it is there. */
function* store(args, bytes, signal) {
  const first = bytes.subarray(0, CHUNK_BYTES);
  const more = bytes.length > CHUNK_BYTES;
  const { value } = yield* ask("open", "store", { ...args, more }, first);
  if (!more) return;
  let whole = false;
  try {
    for (let at = CHUNK_BYTES; at < bytes.length; at += CHUNK_BYTES) {
      checkSignal(signal);
      yield* ask("write", "write", { handle: value, shown: args.path },
        bytes.subarray(at, at + CHUNK_BYTES));
    }
    whole = true;
  } finally {
    yield* ask("open", "close", { handle: value, commit: whole, shown: args.path });
  }
}

const appendFile = (file, data, options) =>
  writeFile(file, data, { ...optionsOf(options, { encoding: "utf8" }),
    flag: options?.flag ?? "a" });

// -- looking --------------------------------------------------------------------------------

const statOf = (syscall, link) => function* stat(path, options) {
  path = pathOf(path);
  const { bigint = false, throwIfNoEntry = true } = options ?? {};
  try {
    return stats((yield* ask(syscall, "stat", { path, link })).value, bigint);
  } catch (error) {
    if (!throwIfNoEntry && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
    throw error;
  }
};
const stat = statOf("stat", false);
const lstat = statOf("lstat", true);

const stats = (facts, bigint) =>
  (bigint ? new values.BigIntStats(facts, true) : new values.Stats(facts));

function* fstat(fd, options) {
  const found = yield* ask("fstat", "stat", { handle: descriptor(fd) });
  return stats(found.value, options?.bigint ?? false);
}

function* readdir(path, options) {
  path = pathOf(path);
  const { encoding, recursive = false, withFileTypes = false } = optionsOf(options, {});
  const { value } = yield* ask("scandir", "list", { path, recursive: recursive === true });
  const shown = (name) => (encoding === "buffer" ? Buffer.from(name) : name);
  if (!withFileTypes) return value.map(([name]) => shown(name));
  const top = path.length > 1 ? path.replace(/\/+$/, "") : path;
  return value.map(([name, kind]) => {
    const cut = name.lastIndexOf("/");
    const parent = cut < 0 ? top : `${top === "/" ? "" : top}/${name.slice(0, cut)}`;
    return new values.Dirent(shown(name.slice(cut + 1)), parent, kind);
  });
}

function* access(path, mode = constants.F_OK) {
  path = pathOf(path);
  if (PACKAGE_FILE.test(path) && (mode & constants.W_OK) === 0) {
    yield* loadPackageFile(path);
    return;
  }
  yield* ask("access", "access", { path, mode: integer(mode, "mode", 0, 7) });
}

function* exists(path) {
  try {
    yield* access(path);
    return true;
  } catch {
    return false;
  }
}

function* realpath(path, options) {
  path = pathOf(path);
  const { encoding } = optionsOf(options, {});
  const { value } = yield* ask("realpath", "real_path", { path });
  return encoding === "buffer" ? Buffer.from(value) : value;
}

// -- changing -------------------------------------------------------------------------------

function* mkdir(path, options) {
  path = pathOf(path);
  const given = options !== null && typeof options === "object" ? options : { mode: options };
  const args = { path, parents: given.recursive === true, mode: modeOf(given.mode, FOLDER_MODE) };
  const { value } = yield* ask("mkdir", "make", args);
  return args.parents ? value ?? undefined : undefined;
}

function* mkdtemp(prefix, options) {
  const path = pathOf(prefix, "prefix");
  const { encoding } = optionsOf(options, {});
  const { value } = yield* ask("mkdtemp", "make_temporary",
    { path, shown: `${path}XXXXXX` });
  const made = path + value.slice(-6);
  return encoding === "buffer" ? Buffer.from(made) : made;
}

function* unlink(path) {
  path = pathOf(path);
  yield* ask("unlink", "delete", { path });
}

function* rmdir(path, options) {
  path = pathOf(path);
  yield* ask("rmdir", "delete_folder", { path, recursive: options?.recursive === true });
}

function* rm(path, options) {
  path = pathOf(path);
  const { recursive = false, force = false } = options ?? {};
  try {
    const { value } = yield* ask("rm", "stat", { path, link: true });
    const isFolder = (value.mode & constants.S_IFMT) === constants.S_IFDIR;
    if (isFolder && !recursive) {
      const error = values.nodeError(Error, "ERR_FS_EISDIR",
        `Path is a directory: rm returned EISDIR (is a directory) ${path}`);
      error.name = "SystemError";
      throw Object.assign(error, { errno: 21, syscall: "rm", path });
    }
    yield* ask("rm", isFolder ? "delete_folder" : "delete", { path, recursive });
  } catch (error) {
    if (!(force && error.code === "ENOENT")) throw error;
  }
}

function* rename(from, to) {
  const [path, dest] = [pathOf(from, "oldPath"), pathOf(to, "newPath")];
  yield* ask("rename", "move", { path, to: dest });
}

function* copyFile(from, to, mode = 0) {
  const [path, dest] = [pathOf(from, "src"), pathOf(to, "dest")];
  const exclusive = (integer(mode, "mode", 0, 7) & constants.COPYFILE_EXCL) !== 0;
  yield* ask("copyfile", "copy", { path, to: dest, exclusive });
}

/** Copies files and folders; `filter` is asked for each. */
function* cp(from, to, options) {
  const [path, dest] = [pathOf(from, "src"), pathOf(to, "dest")];
  const given = { errorOnExist: false, force: true, recursive: false, mode: 0, ...options };
  if (given.filter !== undefined && !given.filter(path, dest)) return;
  const found = (yield* ask("cp", "stat", { path })).value;
  const isFolder = (found.mode & constants.S_IFMT) === constants.S_IFDIR;
  const cpError = (code, message) => Object.assign(values.nodeError(Error, code, message),
    { syscall: "cp", path: dest });
  const target = yield* stat(dest, { throwIfNoEntry: false });
  if (target !== undefined && target.ino === found.ino) {
    throw cpError("ERR_FS_CP_EINVAL", `Invalid src or dest: cp returned EINVAL (src and dest ` +
      `cannot be the same) ${dest}`);
  }
  if (!isFolder) {
    if (target?.isDirectory()) {
      throw cpError("ERR_FS_CP_NON_DIR_TO_DIR", "Cannot overwrite directory with non-directory: " +
        `cp returned EISDIR (cannot overwrite directory ${dest} with non-directory ${path}) ${dest}`);
    }
    if (target !== undefined && !given.force) {
      if (!given.errorOnExist) return;
      throw cpError("ERR_FS_CP_EEXIST", `Target already exists: cp returned EEXIST (${dest} ` +
        `already exists) ${dest}`);
    }
    const cut = dest.replace(/\/+$/, "").lastIndexOf("/");
    if (cut > 0) yield* mkdir(dest.slice(0, cut), { recursive: true });
    yield* copyFile(path, dest, given.mode);
    return;
  }
  if (!given.recursive) {
    throw cpError("ERR_FS_EISDIR", "Path is a directory: cp returned EISDIR (Recursive option not " +
      `enabled, cannot copy a directory: ${path}) ${path}`);
  }
  if (target !== undefined && !target.isDirectory()) {
    throw cpError("ERR_FS_CP_DIR_TO_NON_DIR", "Cannot overwrite non-directory with directory: cp " +
      `returned ENOTDIR (cannot overwrite non-directory ${dest} with directory ${path}) ${dest}`);
  }
  const [source, goal] = [yield* realpath(path), `${dest.replace(/^\.?\/+|\/+$/g, "")}/`];
  if (`/${goal}`.startsWith(`${source}/`)) {
    throw cpError("ERR_FS_CP_EINVAL", `Invalid src or dest: cp returned EINVAL (cannot copy ` +
      `${path} to a subdirectory of self ${dest}) ${dest}`);
  }
  yield* mkdir(dest, { recursive: true });
  for (const name of yield* readdir(path)) yield* cp(`${path}/${name}`, `${dest}/${name}`, given);
}

function* truncate(path, length = 0) {
  if (isDescriptor(path)) return yield* ftruncate(path, length);
  path = pathOf(path);
  return void (yield* ask("open", "truncate", { path, size: integer(length ?? 0, "len") }));
}

function* ftruncate(fd, length = 0) {
  const size = Math.max(0, integer(length ?? 0, "len", -Number.MAX_SAFE_INTEGER));
  yield* ask("ftruncate", "truncate", { handle: descriptor(fd), size });
}

const syncOf = (syscall) => function* sync(fd) {
  yield* ask(syscall, "sync", { handle: descriptor(fd) });
};

const operations = { access, appendFile, close, copyFile, cp, exists, fdatasync: syncOf("fdatasync"),
  fstat, fsync: syncOf("fsync"), ftruncate, lstat, mkdir, mkdtemp, open, read, readFile, readdir,
  realpath, rename, rm, rmdir, stat, truncate, unlink, write, writeFile };

for (const generator of [...Object.values(operations), ask, load, loadPackageFile,
  readRest, store, writeBytes]) {
  if (generator !== appendFile) Object.setPrototypeOf(generator.prototype, Steps);
}

module.exports = { begin: next, operations, run, runNow, writeBytes };

"use strict";
// node:fs/promises.

const { Buffer } = require("node/buffer");
const { operations, run, writeBytes } = require("node/fs_operations");
const { refusedFunction } = require("node/stubs");
const { bytesOf, checkSignal, constants, optionsOf, systemError } = require("node/fs_values");

const MISSING = "chmod chown lchmod lchown link lutimes opendir readlink statfs symlink utimes watch"
  .split(" ");
const NAMES = ("access appendFile copyFile cp lstat mkdir mkdtemp readdir realpath rename rm rmdir " +
  "stat truncate unlink").split(" ");

/** An open file. */
class FileHandle {
  #fd;
  #closing;

  constructor(fd) {
    this.#fd = fd;
  }

  get fd() {
    return this.#fd;
  }

  #run(make, syscall) {
    if (this.#fd === -1) return Promise.reject(systemError("EBADF", syscall));
    return run(make(this.#fd));
  }

  appendFile(data, options) {
    return this.writeFile(data, options);
  }

  close() {
    if (this.#fd === -1) return Promise.resolve();
    this.#closing ??= run(operations.close(this.#fd)).finally(() => {
      this.#fd = -1;
      this.#closing = undefined;
    });
    return this.#closing;
  }

  createReadStream(options) {
    return require("node/fs_streams").createReadStream(undefined, { ...options, fd: this });
  }

  createWriteStream(options) {
    return require("node/fs_streams").createWriteStream(undefined, { ...options, fd: this });
  }

  datasync() {
    return this.#run(operations.fdatasync, "fdatasync");
  }

  async read(buffer, offset, length, position) {
    if (buffer == null || !ArrayBuffer.isView(buffer)) {
      ({ buffer = Buffer.alloc(16384), offset, length, position } = buffer ?? {});
    } else if (offset !== null && typeof offset === "object") {
      ({ offset, length, position } = offset);
    }
    const bytesRead = await this.#run((fd) =>
      operations.read(fd, buffer, offset ?? 0, length ?? undefined, position ?? null), "read");
    return { bytesRead, buffer };
  }

  readFile(options) {
    return this.#run((fd) => operations.readFile(fd, options), "read");
  }

  async *readLines(options) {
    let rest = "";
    for await (const chunk of this.createReadStream({ encoding: "utf8", ...options })) {
      const lines = (rest + chunk).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      yield* lines;
    }
    if (rest !== "") yield rest.replace(/\r$/, "");
  }

  stat(options) {
    return this.#run((fd) => operations.fstat(fd, options), "fstat");
  }

  sync() {
    return this.#run(operations.fsync, "fsync");
  }

  truncate(length) {
    return this.#run((fd) => operations.ftruncate(fd, length), "ftruncate");
  }

  async write(data, offset, length, position) {
    const bytesWritten = await this.#run((fd) =>
      operations.write(fd, data, offset, length, position), "write");
    return { bytesWritten, buffer: data };
  }

  async writeFile(data, options) {
    const { encoding, signal } = optionsOf(options, { encoding: "utf8" });
    await eachChunk(data, encoding, signal, (bytes) =>
      this.#run((fd) => writeBytes(fd, bytes), "write"));
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }
}

const isMany = (data) => data != null && typeof data === "object" && !ArrayBuffer.isView(data) &&
  (Symbol.asyncIterator in data || Symbol.iterator in data);

async function eachChunk(data, encoding, signal, write) {
  if (!isMany(data)) {
    await write(bytesOf(data, encoding));
    return;
  }
  for await (const chunk of data) {
    checkSignal(signal);
    await write(bytesOf(chunk, encoding));
  }
}

const promises = {};
for (const name of NAMES) {
  promises[name] = { [name]: async (...given) => run(operations[name](...given)) }[name];
}

promises.open = async function open(path, flags, mode) {
  return new FileHandle(await run(operations.open(path, flags, mode)));
};

const fileOf = (file) => (file instanceof FileHandle ? file.fd : file);

promises.readFile = async (file, options) => run(operations.readFile(fileOf(file), options));

promises.writeFile = async function writeFile(file, data, options) {
  if (file instanceof FileHandle) return file.writeFile(data, options);
  if (!isMany(data)) return run(operations.writeFile(file, data, options));
  const { encoding, flag, mode, signal } = optionsOf(options, { encoding: "utf8", flag: "w" });
  const handle = await promises.open(file, flag, mode);
  try {
    await handle.writeFile(data, { encoding, signal });
  } finally {
    await handle.close();
  }
  return undefined;
};

promises.appendFile = async (file, data, options) =>
  (file instanceof FileHandle ? file.appendFile(data, options)
    : run(operations.appendFile(file, data, options)));

for (const name of MISSING) promises[name] = refusedFunction("fs/promises", name);

module.exports = Object.assign(promises, { constants });

"use strict";
// The streams of node:fs.

const { operations, run, writeBytes } = require("node/fs_operations");
const { Readable, Writable } = require("node/stream");
const { integer, optionsOf, outOfRange, pathOf } = require("node/fs_values");
const { Buffer } = require("node/buffer");

const CHUNK_BYTES = 64 * 1024;

const numberOf = (fd) => (typeof fd === "object" ? fd.fd : fd);

/** Calls back with what comes of an operation. */
function end(operation, callback) {
  run(operation).then((value) => callback(null, value), (error) => callback(error));
}

const close = (stream, error, callback) => {
  const fd = stream.fd;
  if (fd == null || !stream.autoClose) return callback(error);
  stream.fd = null;
  if (typeof fd === "object") return fd.close().then(() => callback(error), callback);
  return end(operations.close(fd), (failed) => callback(error ?? failed));
};

class ReadStream extends Readable {
  constructor(path, options) {
    const given = optionsOf(options, {});
    super({ highWaterMark: CHUNK_BYTES, encoding: given.encoding, signal: given.signal,
      emitClose: given.emitClose !== false, autoDestroy: given.autoClose !== false,
      ...(given.highWaterMark === undefined ? {} : { highWaterMark: given.highWaterMark }) });
    this.path = given.fd == null ? pathOf(path) : path;
    this.fd = given.fd ?? null;
    this.flags = given.flags ?? "r";
    this.mode = given.mode;
    this.start = given.start;
    this.end = given.end ?? Infinity;
    this.autoClose = given.autoClose !== false;
    this.bytesRead = 0;
    if (this.start !== undefined) integer(this.start, "start");
    if (this.end !== Infinity) integer(this.end, "end");
    if (this.start !== undefined && this.start > this.end) {
      throw outOfRange("start", `<= "end" (here: ${this.end})`, this.start);
    }
    this.pos = this.start;
  }

  get pending() {
    return this.fd === null;
  }

  _construct(callback) {
    if (this.fd !== null) return callback();
    return end(operations.open(this.path, this.flags, this.mode), (error, fd) => {
      if (error !== null) return callback(error);
      this.fd = fd;
      callback();
      this.emit("open", fd);
      return this.emit("ready");
    });
  }

  _read(size) {
    const left = this.end - (this.start ?? 0) - this.bytesRead + 1;
    const wanted = Math.min(size, left);
    if (wanted <= 0) return this.push(null);
    const buffer = Buffer.alloc(wanted);
    const read = operations.read(numberOf(this.fd), buffer, 0, wanted, this.pos ?? null);
    return end(read, (error, got) => {
      if (error !== null) return this.destroy(error);
      this.bytesRead += got;
      if (this.pos !== undefined) this.pos += got;
      return this.push(got === 0 ? null : buffer.subarray(0, got));
    });
  }

  _destroy(error, callback) {
    close(this, error, callback);
  }

  close(callback) {
    if (callback !== undefined) this.once("close", callback);
    this.destroy();
  }
}

class WriteStream extends Writable {
  constructor(path, options) {
    const given = optionsOf(options, {});
    super({ decodeStrings: true, signal: given.signal, emitClose: given.emitClose !== false,
      defaultEncoding: given.encoding ?? "utf8", autoDestroy: given.autoClose !== false,
      ...(given.highWaterMark === undefined ? {} : { highWaterMark: given.highWaterMark }) });
    this.path = given.fd == null ? pathOf(path) : path;
    this.fd = given.fd ?? null;
    this.flags = given.flags ?? "w";
    this.mode = given.mode;
    this.start = given.start;
    this.autoClose = given.autoClose !== false;
    this.bytesWritten = 0;
    if (this.start !== undefined) integer(this.start, "start");
    this.pos = this.start;
  }

  get pending() {
    return this.fd === null;
  }

  _construct(callback) {
    ReadStream.prototype._construct.call(this, callback);
  }

  _write(chunk, _encoding, callback) {
    end(writeBytes(numberOf(this.fd), chunk, this.pos ?? null), (error, size) => {
      if (error !== null) return callback(error);
      this.bytesWritten += size;
      if (this.pos !== undefined) this.pos += size;
      return callback();
    });
  }

  _writev(chunks, callback) {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), undefined, callback);
  }

  _destroy(error, callback) {
    close(this, error, callback);
  }

  close(callback) {
    if (callback !== undefined) {
      if (this.closed) return process.nextTick(callback);
      this.once("close", callback);
    }
    if (!this.autoClose) this.once("finish", () => this.destroy());
    return this.end();
  }
}

module.exports = {
  ReadStream,
  WriteStream,
  createReadStream: (path, options) => new ReadStream(path, options),
  createWriteStream: (path, options) => new WriteStream(path, options),
};

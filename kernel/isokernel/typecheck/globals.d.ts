// What a context has beside the language: for the type checker.

interface Console {
  log(...data: any[]): void;
  info(...data: any[]): void;
  debug(...data: any[]): void;
  warn(...data: any[]): void;
  error(...data: any[]): void;
  trace(...data: any[]): void;
  dir(item?: any, options?: any): void;
  dirxml(...data: any[]): void;
  table(data?: any, columns?: string[]): void;
  assert(condition?: boolean, ...data: any[]): void;
  count(label?: string): void;
  countReset(label?: string): void;
  group(...data: any[]): void;
  groupCollapsed(...data: any[]): void;
  groupEnd(): void;
  time(label?: string): void;
  timeLog(label?: string, ...data: any[]): void;
  timeEnd(label?: string): void;
  clear(): void;
}
declare var console: Console;

/** A number to whoever wants one, with the methods that Node.js gives it. */
interface Timeout {
  ref(): this;
  unref(): this;
  hasRef(): boolean;
  refresh(): this;
  close(): this;
  toJSON(): number;
  [Symbol.toPrimitive](): number;
}
declare function setTimeout<T extends any[]>(
  callback: (...args: T) => void, delay?: number, ...args: T): Timeout & number;
declare function setInterval<T extends any[]>(
  callback: (...args: T) => void, delay?: number, ...args: T): Timeout & number;
declare function setImmediate<T extends any[]>(
  callback: (...args: T) => void, ...args: T): Timeout & number;
declare function clearTimeout(id?: number | string | Timeout): void;
declare function clearInterval(id?: number | string | Timeout): void;
declare function clearImmediate(id?: number | string | Timeout): void;
declare function queueMicrotask(callback: () => void): void;
declare function reportError(error: any): void;

declare function structuredClone<T>(value: T, options?: { transfer?: ArrayBuffer[] }): T;
declare function atob(data: string): string;
declare function btoa(data: string): string;

type Show = (value: any, options?: any) => any;
declare var display: {
  (value: any, options?: any): any;
  text: Show; html: Show; md: Show; svg: Show; latex: Show; javascript: Show;
  png: Show; jpeg: Show; gif: Show; pdf: Show; image: Show; json: Show; table: Show;
  vega: Show; vegalite: Show; plotly: Show; geojson: Show;
};
declare function updateDisplay(id: string, value: any, options?: any): any;
declare function clearOutput(wait?: boolean): void;
declare function html(parts: TemplateStringsArray, ...values: any[]): any;
declare function md(parts: TemplateStringsArray, ...values: any[]): any;
declare function svg(parts: TemplateStringsArray, ...values: any[]): any;
declare var Jupyter: any;
declare function alert(message?: any): void;
declare function confirm(message?: any): boolean;
declare function prompt(message?: any, initial?: string): string | null;
declare var process: {
  readonly env: Record<string, string | undefined>;
  readonly platform: string;
  readonly version: string;
  readonly versions: Record<string, string>;
  cwd(): string;
  hrtime: { (time?: [number, number]): [number, number]; bigint(): bigint };
  nextTick(callback: (...args: any[]) => void, ...args: any[]): void;
  [name: string]: any;
};
declare var global: typeof globalThis;
declare var self: typeof globalThis;
declare var navigator: any;
declare var Buffer: any;
declare function require(specifier: string): any;
declare var In: Record<number, string>;
declare var Out: Record<number, any>;
declare var _: any;
declare var __: any;
declare var ___: any;

// -- tools ------------------------------------------------------------------------------------

declare class ToolError extends Error {
  constructor(message?: string, options?: {
    code?: string; status?: number; details?: any; retryable?: boolean; cause?: unknown;
  });
  readonly code: string;
  readonly status?: number;
  readonly details?: any;
  readonly retryable: boolean;
}
declare class ApprovalDeniedError extends ToolError {
  constructor(message?: string, options?: { reason?: string; cause?: unknown });
  readonly reason: string;
}

// -- the web's --------------------------------------------------------------------------------

type BufferSource = ArrayBufferView | ArrayBuffer;
type BlobPart = BufferSource | Blob | string;

interface EventInit { bubbles?: boolean; cancelable?: boolean; composed?: boolean }
declare class Event {
  constructor(type: string, init?: EventInit);
  readonly type: string;
  readonly target: EventTarget | null;
  readonly srcElement: EventTarget | null;
  readonly eventPhase: number;
  cancelBubble: boolean;
  returnValue: boolean;
  initEvent(type: string, bubbles?: boolean, cancelable?: boolean): void;
  readonly currentTarget: EventTarget | null;
  readonly bubbles: boolean;
  readonly cancelable: boolean;
  readonly composed: boolean;
  readonly defaultPrevented: boolean;
  readonly isTrusted: boolean;
  readonly timeStamp: number;
  preventDefault(): void;
  stopPropagation(): void;
  stopImmediatePropagation(): void;
  composedPath(): EventTarget[];
}
declare class CustomEvent<T = any> extends Event {
  constructor(type: string, init?: EventInit & { detail?: T });
  readonly detail: T;
  initCustomEvent(type: string, bubbles?: boolean, cancelable?: boolean, detail?: T): void;
}
declare class MessageEvent<T = any> extends Event {
  constructor(type: string, init?: EventInit & { data?: T; origin?: string });
  readonly data: T;
  readonly origin: string;
  readonly lastEventId: string;
  readonly source: any;
  readonly ports: readonly any[];
  initMessageEvent(type: string, ...details: any[]): void;
}
declare class ErrorEvent extends Event {
  constructor(type: string, init?: EventInit & {
    message?: string; filename?: string; lineno?: number; colno?: number; error?: any;
  });
  readonly message: string;
  readonly filename: string;
  readonly lineno: number;
  readonly colno: number;
  readonly error: any;
}
type EventListener = ((event: any) => void) | { handleEvent(event: any): void };
interface EventListenerOptions {
  capture?: boolean; once?: boolean; passive?: boolean; signal?: AbortSignal;
}
declare class EventTarget {
  addEventListener(
    type: string, listener: EventListener | null, options?: boolean | EventListenerOptions): void;
  removeEventListener(
    type: string, listener: EventListener | null, options?: boolean | EventListenerOptions): void;
  dispatchEvent(event: Event): boolean;
}
declare class AbortSignal extends EventTarget {
  static abort(reason?: any): AbortSignal;
  static timeout(milliseconds: number): AbortSignal;
  static any(signals: Iterable<AbortSignal>): AbortSignal;
  readonly aborted: boolean;
  readonly reason: any;
  onabort: ((event: Event) => any) | null;
  throwIfAborted(): void;
}
declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: any): void;
}
declare class DOMException extends Error {
  constructor(message?: string, options?: string | { name?: string; cause?: unknown });
  readonly code: number;
}
declare class QuotaExceededError extends DOMException {
  constructor(message?: string, options?: { quota?: number; requested?: number });
  readonly quota: number | null;
  readonly requested: number | null;
}

declare class Blob {
  constructor(parts?: Iterable<BlobPart>, options?: { type?: string; endings?: string });
  readonly size: number;
  readonly type: string;
  arrayBuffer(): Promise<ArrayBuffer>;
  bytes(): Promise<Uint8Array>;
  slice(start?: number, end?: number, type?: string): Blob;
  stream(): ReadableStream<Uint8Array>;
  text(): Promise<string>;
  textStream(): ReadableStream<string>;
}
declare class File extends Blob {
  constructor(parts: Iterable<BlobPart>, name: string, options?: {
    type?: string; endings?: string; lastModified?: number;
  });
  readonly name: string;
  readonly lastModified: number;
}
declare class FormData {
  constructor();
  append(name: string, value: any): void;
  append(name: string, value: Blob, filename?: string): void;
  delete(name: string): void;
  entries(): IterableIterator<[string, File | string]>;
  forEach(callback: (value: File | string, name: string, form: FormData) => void, thisArg?: any):
    void;
  get(name: string): File | string | null;
  getAll(name: string): (File | string)[];
  has(name: string): boolean;
  keys(): IterableIterator<string>;
  set(name: string, value: any): void;
  set(name: string, value: Blob, filename?: string): void;
  values(): IterableIterator<File | string>;
  [Symbol.iterator](): IterableIterator<[string, File | string]>;
}
declare class Headers {
  constructor(init?: HeadersInit);
  append(name: string, value: string): void;
  delete(name: string): void;
  entries(): IterableIterator<[string, string]>;
  forEach(callback: (value: string, name: string, headers: Headers) => void, thisArg?: any): void;
  get(name: string): string | null;
  getSetCookie(): string[];
  has(name: string): boolean;
  keys(): IterableIterator<string>;
  set(name: string, value: string): void;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}

type BodyInit =
  string | Blob | ArrayBuffer | ArrayBufferView | FormData | URLSearchParams | ReadableStream;
type HeadersInit = Headers | Iterable<Iterable<string>> | Record<string, string>;
interface RequestInit {
  method?: string; headers?: HeadersInit; body?: BodyInit | null; signal?: AbortSignal | null;
  redirect?: "follow" | "error" | "manual"; duplex?: "half"; integrity?: string;
  keepalive?: boolean; referrer?: string; referrerPolicy?: string; mode?: string;
  credentials?: string; cache?: string; priority?: string; window?: null;
}
interface ResponseInit { status?: number; statusText?: string; headers?: HeadersInit }
interface Body {
  readonly body: ReadableStream<Uint8Array> | null;
  readonly bodyUsed: boolean;
  arrayBuffer(): Promise<ArrayBuffer>;
  blob(): Promise<Blob>;
  bytes(): Promise<Uint8Array>;
  formData(): Promise<FormData>;
  json(): Promise<any>;
  text(): Promise<string>;
}
interface Request extends Body {}
declare class Request {
  constructor(input: string | URL | Request, init?: RequestInit);
  readonly cache: string;
  readonly credentials: string;
  readonly destination: string;
  readonly duplex: "half";
  readonly headers: Headers;
  readonly integrity: string;
  readonly isHistoryNavigation: boolean;
  readonly isReloadNavigation: boolean;
  readonly keepalive: boolean;
  readonly method: string;
  readonly mode: string;
  readonly redirect: "follow" | "error" | "manual";
  readonly referrer: string;
  readonly referrerPolicy: string;
  readonly signal: AbortSignal;
  readonly url: string;
  clone(): Request;
}
declare function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
interface Response extends Body {}
declare class Response {
  static error(): Response;
  static json(data: any, init?: ResponseInit): Response;
  static redirect(url: string | URL, status?: number): Response;
  constructor(body?: BodyInit | null, init?: ResponseInit);
  readonly headers: Headers;
  readonly ok: boolean;
  readonly redirected: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly type: "basic" | "default" | "error";
  readonly url: string;
  clone(): Response;
}

declare class URLSearchParams {
  constructor(init?: string | Iterable<[string, string]> | Record<string, string>);
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  toString(): string;
  forEach(callback: (value: string, key: string, all: URLSearchParams) => void): void;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  entries(): IterableIterator<[string, string]>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
declare class URL {
  constructor(url: string | URL, base?: string | URL);
  static canParse(url: string | URL, base?: string | URL): boolean;
  static createObjectURL(blob: Blob): string;
  static parse(url: string | URL, base?: string | URL): URL | null;
  static revokeObjectURL(url: string): void;
  hash: string;
  host: string;
  hostname: string;
  href: string;
  readonly origin: string;
  password: string;
  pathname: string;
  port: string;
  protocol: string;
  search: string;
  readonly searchParams: URLSearchParams;
  username: string;
  toJSON(): string;
  toString(): string;
}

declare class TextEncoder {
  readonly encoding: string;
  encode(input?: string): Uint8Array<ArrayBuffer>;
  encodeInto(source: string, destination: Uint8Array): { read: number; written: number };
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(input?: BufferSource, options?: { stream?: boolean }): string;
}

interface QueuingStrategy<T = any> { highWaterMark?: number; size?(chunk: T): number }
declare class CountQueuingStrategy {
  constructor(init: { highWaterMark: number });
  readonly highWaterMark: number;
  size(chunk?: any): number;
}
declare class ByteLengthQueuingStrategy {
  constructor(init: { highWaterMark: number });
  readonly highWaterMark: number;
  size(chunk?: any): number;
}
declare class ReadableStreamDefaultController<R = any> {
  private constructor();
  readonly desiredSize: number | null;
  close(): void;
  enqueue(chunk?: R): void;
  error(reason?: any): void;
}
declare class ReadableByteStreamController {
  private constructor();
  readonly byobRequest: ReadableStreamBYOBRequest | null;
  readonly desiredSize: number | null;
  close(): void;
  enqueue(chunk: ArrayBufferView): void;
  error(reason?: any): void;
}
declare class ReadableStreamBYOBRequest {
  private constructor();
  readonly view: ArrayBufferView | null;
  respond(bytesWritten: number): void;
  respondWithNewView(view: ArrayBufferView): void;
}
declare class ReadableStreamBYOBReader {
  constructor(stream: ReadableStream<Uint8Array>);
  readonly closed: Promise<undefined>;
  cancel(reason?: any): Promise<void>;
  read<T extends ArrayBufferView>(view: T): Promise<ReadResult<T>>;
  releaseLock(): void;
}
declare class WritableStreamDefaultController {
  readonly abortReason: any;
  private constructor();
  readonly signal: AbortSignal;
  error(reason?: any): void;
}
declare class TransformStreamDefaultController<O = any> {
  private constructor();
  readonly desiredSize: number | null;
  enqueue(chunk?: O): void;
  error(reason?: any): void;
  terminate(): void;
}
type ReadResult<R> = { done: false; value: R } | { done: true; value: R | undefined };
declare class ReadableStreamDefaultReader<R = any> {
  constructor(stream: ReadableStream<R>);
  readonly closed: Promise<undefined>;
  cancel(reason?: any): Promise<void>;
  read(): Promise<ReadResult<R>>;
  releaseLock(): void;
}
declare class ReadableStream<R = any> {
  constructor(source?: {
    start?(controller: ReadableStreamDefaultController<R>): any;
    pull?(controller: ReadableStreamDefaultController<R>): void | PromiseLike<void>;
    cancel?(reason?: any): void | PromiseLike<void>;
  }, strategy?: QueuingStrategy<R>);
  static from<R>(items: Iterable<R> | AsyncIterable<R>): ReadableStream<R>;
  readonly locked: boolean;
  cancel(reason?: any): Promise<void>;
  getReader(options?: { mode?: undefined }): ReadableStreamDefaultReader<R>;
  getReader(options: { mode: "byob" }): ReadableStreamBYOBReader;
  pipeThrough<T>(pair: { readable: ReadableStream<T>; writable: WritableStream<R> },
    options?: any): ReadableStream<T>;
  pipeTo(destination: WritableStream<R>, options?: any): Promise<void>;
  tee(): [ReadableStream<R>, ReadableStream<R>];
  values(options?: { preventCancel?: boolean }): AsyncIterableIterator<R>;
  [Symbol.asyncIterator](): AsyncIterableIterator<R>;
}
declare class WritableStreamDefaultWriter<W = any> {
  constructor(stream: WritableStream<W>);
  readonly closed: Promise<undefined>;
  readonly desiredSize: number | null;
  readonly ready: Promise<undefined>;
  abort(reason?: any): Promise<void>;
  close(): Promise<void>;
  releaseLock(): void;
  write(chunk?: W): Promise<void>;
}
declare class WritableStream<W = any> {
  constructor(sink?: {
    start?(controller: WritableStreamDefaultController): any;
    write?(chunk: W, controller: WritableStreamDefaultController): void | PromiseLike<void>;
    close?(): void | PromiseLike<void>;
    abort?(reason?: any): void | PromiseLike<void>;
  }, strategy?: QueuingStrategy<W>);
  readonly locked: boolean;
  abort(reason?: any): Promise<void>;
  close(): Promise<void>;
  getWriter(): WritableStreamDefaultWriter<W>;
}
declare class TransformStream<I = any, O = any> {
  constructor(transformer?: {
    start?(controller: TransformStreamDefaultController<O>): any;
    transform?(
      chunk: I, controller: TransformStreamDefaultController<O>): void | PromiseLike<void>;
    flush?(controller: TransformStreamDefaultController<O>): void | PromiseLike<void>;
  }, writable?: QueuingStrategy<I>, readable?: QueuingStrategy<O>);
  readonly readable: ReadableStream<O>;
  readonly writable: WritableStream<I>;
}
declare class TextEncoderStream extends TransformStream<string, Uint8Array> {
  readonly encoding: string;
}
declare class TextDecoderStream extends TransformStream<BufferSource, string> {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
}

declare class CompressionStream extends TransformStream<BufferSource, Uint8Array> {
  constructor(format: "brotli" | "deflate" | "deflate-raw" | "gzip");
}
declare class DecompressionStream extends TransformStream<BufferSource, Uint8Array> {
  constructor(format: "brotli" | "deflate" | "deflate-raw" | "gzip");
}

declare class MessagePort extends EventTarget {
  private constructor();
  onmessage: ((event: MessageEvent) => any) | null;
  onmessageerror: ((event: MessageEvent) => any) | null;
  postMessage(message: any, options?: Iterable<object> | { transfer?: Iterable<object> }): void;
  start(): void;
  close(): void;
}
declare class MessageChannel {
  readonly port1: MessagePort;
  readonly port2: MessagePort;
}

declare class URLPattern {
  constructor(input?: any, base?: any, options?: { ignoreCase?: boolean });
  readonly hash: string;
  readonly hasRegExpGroups: boolean;
  readonly hostname: string;
  readonly password: string;
  readonly pathname: string;
  readonly port: string;
  readonly protocol: string;
  readonly search: string;
  readonly username: string;
  exec(input?: any, base?: string): any;
  test(input?: any, base?: string): boolean;
}

declare class CryptoKey {
  private constructor();
}
declare class SubtleCrypto {
  private constructor();
  digest(algorithm: string | { name: string }, data: BufferSource): Promise<ArrayBuffer>;
  decrypt(...args: any[]): Promise<any>;
  deriveBits(...args: any[]): Promise<any>;
  deriveKey(...args: any[]): Promise<any>;
  encrypt(...args: any[]): Promise<any>;
  exportKey(...args: any[]): Promise<any>;
  generateKey(...args: any[]): Promise<any>;
  importKey(...args: any[]): Promise<any>;
  sign(...args: any[]): Promise<any>;
  unwrapKey(...args: any[]): Promise<any>;
  verify(...args: any[]): Promise<any>;
  wrapKey(...args: any[]): Promise<any>;
}
declare function addEventListener(type: string, callback: any, options?: any): void;
declare function removeEventListener(type: string, callback: any, options?: any): void;
declare function dispatchEvent(event: Event): boolean;

declare class Crypto {
  readonly subtle: SubtleCrypto;
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  randomUUID(): string;
}
declare var crypto: Crypto;

declare class PerformanceEntry {
  readonly duration: number;
  readonly entryType: string;
  readonly name: string;
  readonly startTime: number;
  toJSON(): any;
}
declare class PerformanceMark extends PerformanceEntry {
  constructor(name: string, options?: { detail?: any; startTime?: number });
  readonly detail: any;
}
declare class PerformanceMeasure extends PerformanceEntry { readonly detail: any }
declare class Performance extends EventTarget {
  readonly timeOrigin: number;
  now(): number;
  mark(name: string, options?: { detail?: any; startTime?: number }): PerformanceMark;
  measure(name: string, start?: any, end?: string): PerformanceMeasure;
  clearMarks(name?: string): void;
  clearMeasures(name?: string): void;
  getEntries(): PerformanceEntry[];
  getEntriesByName(name: string, type?: string): PerformanceEntry[];
  getEntriesByType(type: string): PerformanceEntry[];
  toJSON(): any;
}
declare var performance: Performance;

declare namespace WebAssembly {
  class Module { constructor(bytes: BufferSource) }
  class Instance {
    constructor(module: Module, imports?: any);
    readonly exports: Record<string, any>;
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number; shared?: boolean });
    readonly buffer: ArrayBuffer;
    grow(delta: number): number;
  }
  class Table { constructor(descriptor: any, value?: any); [name: string]: any }
  class Global { constructor(descriptor: any, value?: any); value: any; valueOf(): any }
  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}
  function validate(bytes: BufferSource): boolean;
  function compile(bytes: BufferSource): Promise<Module>;
  function instantiate(
    bytes: BufferSource, imports?: any): Promise<{ module: Module; instance: Instance }>;
  function instantiate(module: Module, imports?: any): Promise<Instance>;
}

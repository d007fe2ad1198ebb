"use strict";
const { defineInterface, dictionary } = require("web/idl");

const LEGACY_CODES = {
  IndexSizeError: 1,
  HierarchyRequestError: 3,
  WrongDocumentError: 4,
  InvalidCharacterError: 5,
  NoModificationAllowedError: 7,
  NotFoundError: 8,
  NotSupportedError: 9,
  InUseAttributeError: 10,
  InvalidStateError: 11,
  SyntaxError: 12,
  InvalidModificationError: 13,
  NamespaceError: 14,
  InvalidAccessError: 15,
  TypeMismatchError: 17,
  SecurityError: 18,
  NetworkError: 19,
  AbortError: 20,
  URLMismatchError: 21,
  QuotaExceededError: 22,
  TimeoutError: 23,
  InvalidNodeTypeError: 24,
  DataCloneError: 25,
};

const CONSTANTS = {
  INDEX_SIZE_ERR: 1,
  DOMSTRING_SIZE_ERR: 2,
  HIERARCHY_REQUEST_ERR: 3,
  WRONG_DOCUMENT_ERR: 4,
  INVALID_CHARACTER_ERR: 5,
  NO_DATA_ALLOWED_ERR: 6,
  NO_MODIFICATION_ALLOWED_ERR: 7,
  NOT_FOUND_ERR: 8,
  NOT_SUPPORTED_ERR: 9,
  INUSE_ATTRIBUTE_ERR: 10,
  INVALID_STATE_ERR: 11,
  SYNTAX_ERR: 12,
  INVALID_MODIFICATION_ERR: 13,
  NAMESPACE_ERR: 14,
  INVALID_ACCESS_ERR: 15,
  VALIDATION_ERR: 16,
  TYPE_MISMATCH_ERR: 17,
  SECURITY_ERR: 18,
  NETWORK_ERR: 19,
  ABORT_ERR: 20,
  URL_MISMATCH_ERR: 21,
  QUOTA_EXCEEDED_ERR: 22,
  TIMEOUT_ERR: 23,
  INVALID_NODE_TYPE_ERR: 24,
  DATA_CLONE_ERR: 25,
};

const identity = function (object) {
  return object;
};

/** Puts a private field on an object that some other constructor has made. */
class State extends identity {
  #state;
  constructor(object, state) {
    super(object);
    this.#state = state;
  }
  static of(object) {
    return object.#state;
  }
}

class DOMException {
  /**
   * @param {string} [message]
   * @param {string | {name?: string, cause?: unknown}} [options] the name, or as Node.js has it
   */
  constructor(message = "", options = "Error") {
    // A real Error underneath, so that Error.isError and the console know it as one; but not
    // `extends Error`, since the constructor's own prototype has to be Function.prototype.
    const self = Reflect.construct(Error, [message], new.target);
    // For the head of the stack V8 looks at an error's first message; the attribute is a getter.
    delete self.message;
    let name = options;
    if (options !== null && typeof options === "object") {
      name = options.name ?? "Error";
      if ("cause" in options) {
        const cause = { value: options.cause, writable: true, configurable: true };
        Object.defineProperty(self, "cause", cause);
      }
    }
    new State(self, { message: `${message}`, name: `${name}` });
    // Once more, without this constructor among the frames.
    Error.captureStackTrace(self, new.target);
    return self;
  }

  get name() {
    return State.of(this).name;
  }

  get message() {
    return State.of(this).message;
  }

  get code() {
    return LEGACY_CODES[State.of(this).name] ?? 0;
  }
}

Object.setPrototypeOf(DOMException.prototype, Error.prototype);
defineInterface(DOMException, { clone: cloneException, constants: CONSTANTS });

class QuotaExceededError extends DOMException {
  #quota;
  #requested;

  constructor(message = "", options = {}) {
    const { quota = null, requested = null } = dictionary(options, "QuotaExceededError");
    super(message, "QuotaExceededError");
    this.#quota = toAmount(quota, "quota");
    this.#requested = toAmount(requested, "requested");
  }

  get quota() {
    return this.#quota;
  }

  get requested() {
    return this.#requested;
  }
}

function toAmount(value, what) {
  if (value === null) return null;
  const number = Number(value);
  if (!Number.isFinite(number)) throw new TypeError(`${what} is not a finite number`);
  if (number < 0) throw new RangeError(`${what} is negative`);
  return number;
}

function cloneException(error) {
  const copy = new DOMException(error.message, error.name);
  Object.defineProperty(copy, "stack", { value: error.stack });
  return copy;
}

defineInterface(QuotaExceededError, {
  clone: (error) => new QuotaExceededError(error.message, error),
});

module.exports = { DOMException, QuotaExceededError };

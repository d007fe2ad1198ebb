"use strict";
// FormData (https://xhr.spec.whatwg.org/#interface-formdata), made by code alone: there are no
// forms here.
const { asFile, isBlob } = require("web/blob");
const { defineInterface, defineIterable, requireArguments, usvString } = require("web/idl");

let isForm;
/** The [name, value] pairs of a form. */
let entriesOf;
/** A form with these pairs. */
let formOf;

class FormData {
  /** [name, value] of each entry; a value is a string or a File. */
  #entries = [];

  constructor(form = undefined) {
    if (form !== undefined) {
      throw new TypeError(
        "Failed to construct 'FormData': parameter 1 is not of type 'HTMLFormElement'.",
      );
    }
  }

  append(name, value, filename = undefined) {
    const entries = this.#entries;
    requireArguments(arguments.length, 2, "append");
    entries[entries.length] = toEntry(name, value, filename, arguments.length, "append");
  }

  delete(name) {
    const entries = this.#entries;
    requireArguments(arguments.length, 1, "delete");
    this.#entries = without(entries, usvString(name), 0);
  }

  get(name) {
    const entries = this.#entries;
    requireArguments(arguments.length, 1, "get");
    const at = indexOf(entries, usvString(name));
    return at < 0 ? null : entries[at][1];
  }

  getAll(name) {
    const entries = this.#entries;
    requireArguments(arguments.length, 1, "getAll");
    const wanted = usvString(name);
    const values = [];
    for (let i = 0; i < entries.length; i++) {
      if (entries[i][0] === wanted) values[values.length] = entries[i][1];
    }
    return values;
  }

  has(name) {
    const entries = this.#entries;
    requireArguments(arguments.length, 1, "has");
    return indexOf(entries, usvString(name)) >= 0;
  }

  set(name, value, filename = undefined) {
    const entries = this.#entries;
    requireArguments(arguments.length, 2, "set");
    const entry = toEntry(name, value, filename, arguments.length, "set");
    const at = indexOf(entries, entry[0]);
    if (at < 0) {
      entries[entries.length] = entry;
      return;
    }
    entries[at] = entry;
    this.#entries = without(entries, entry[0], at + 1);
  }

  static {
    defineIterable(FormData, (form) => form.#entries);
    isForm = (value) => typeof value === "object" && value !== null && #entries in value;
    entriesOf = (form) => form.#entries;
    formOf = (entries) => {
      const form = new FormData();
      form.#entries = entries;
      return form;
    };
  }
}

/** Web IDL's overloads: with a file's name, the value must be a blob. */
function toEntry(name, value, filename, given, what) {
  const text = usvString(name);
  if (!isBlob(value)) {
    if (given > 2) {
      throw new TypeError(`Failed to execute '${what}' on 'FormData': parameter 2 is not of ` +
        "type 'Blob'.");
    }
    return [text, usvString(value)];
  }
  return [text, asFile(value, filename === undefined ? undefined : usvString(filename))];
}

function indexOf(entries, name) {
  for (let i = 0; i < entries.length; i++) if (entries[i][0] === name) return i;
  return -1;
}

/** The entries without a name, as far as they stand at or after a position. */
function without(entries, name, from) {
  const rest = [];
  for (let i = 0; i < entries.length; i++) {
    if (i < from || entries[i][0] !== name) rest[rest.length] = entries[i];
  }
  return rest;
}

defineInterface(FormData, {
  show(form, inspect, options) {
    const pairs = [...form].map(
      ([name, value]) => `${inspect(name, options)} => ${inspect(value, options)}`,
    );
    return pairs.length ? `{ ${pairs.join(", ")} }` : "{}";
  },
});

module.exports = { FormData, entriesOf, formOf, isForm };

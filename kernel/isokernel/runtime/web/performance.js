"use strict";
const { now } = require("web/clock");
const { structuredClone } = require("web/clone");
const { EventTarget } = require("web/event_target");
const { DOMException } = require("web/exception");
const idl = require("web/idl");

const { PLATFORM, defineInterface, dictionary, requireArguments } = idl;

class PerformanceEntry {
  #name;
  #entryType;
  #startTime;
  #duration;

  constructor(token, name, entryType, startTime, duration) {
    idl.requirePlatform(token);
    this.#name = name;
    this.#entryType = entryType;
    this.#startTime = startTime;
    this.#duration = duration;
  }

  get name() {
    return this.#name;
  }

  get entryType() {
    return this.#entryType;
  }

  get startTime() {
    return this.#startTime;
  }

  get duration() {
    return this.#duration;
  }

  toJSON() {
    const { name, entryType, startTime, duration } = this;
    return { name, entryType, startTime, duration };
  }
}

class PerformanceMark extends PerformanceEntry {
  #detail;

  constructor(name, options) {
    requireArguments(arguments.length, 1, "PerformanceMark");
    const { startTime = now(), detail = null } = dictionary(options, "PerformanceMark");
    if (!(startTime >= 0)) throw new TypeError(`A mark can't have the time ${startTime}.`);
    super(PLATFORM, `${name}`, "mark", Number(startTime), 0);
    this.#detail = structuredClone(detail);
  }

  get detail() {
    return this.#detail;
  }

  toJSON() {
    return { ...super.toJSON(), detail: this.#detail };
  }
}

class PerformanceMeasure extends PerformanceEntry {
  #detail;

  constructor(token, name, start, end, detail) {
    super(token, name, "measure", start, end - start);
    this.#detail = structuredClone(detail);
  }

  get detail() {
    return this.#detail;
  }

  toJSON() {
    return { ...super.toJSON(), detail: this.#detail };
  }
}

class Performance extends EventTarget {
  #timeOrigin;
  #entries = [];

  constructor(token) {
    idl.requirePlatform(token);
    super();
    this.#timeOrigin = Date.now() - now();
  }

  get timeOrigin() {
    return this.#timeOrigin;
  }

  now() {
    this.#entries; // throws for what is no Performance
    return now();
  }

  mark(name, options) {
    requireArguments(arguments.length, 1, "mark");
    const mark = new PerformanceMark(name, options);
    this.#entries.push(mark);
    return mark;
  }

  measure(name, startOrOptions, endMark) {
    requireArguments(arguments.length, 1, "measure");
    const given = typeof startOrOptions === "object" && startOrOptions !== null;
    const options = given ? startOrOptions : { start: startOrOptions, end: endMark };
    const { start, end, duration, detail = null } = options;
    if (given && Object.keys(startOrOptions).length) requireConsistent(startOrOptions, endMark);
    const at = (point) => this.#timeOf(point);
    let to = now();
    if (end !== undefined) to = at(end);
    else if (start !== undefined && duration !== undefined) to = at(start) + Number(duration);
    let from = 0;
    if (start !== undefined) from = at(start);
    else if (duration !== undefined && end !== undefined) from = to - Number(duration);
    const measure = new PerformanceMeasure(PLATFORM, `${name}`, from, to, detail);
    this.#entries.push(measure);
    return measure;
  }

  #timeOf(point) {
    if (typeof point === "number") {
      if (point < 0) throw new TypeError(`'${point}' is negative, so it can't be a time.`);
      return point;
    }
    const name = `${point}`;
    const mark = this.#entries.findLast((e) => e.entryType === "mark" && e.name === name);
    if (!mark) throw new DOMException(`The mark '${name}' does not exist.`, "SyntaxError");
    return mark.startTime;
  }

  clearMarks(name) {
    this.#clear("mark", name);
  }

  clearMeasures(name) {
    this.#clear("measure", name);
  }

  #clear(type, name) {
    this.#entries = this.#entries.filter(
      (entry) => entry.entryType !== type || (name !== undefined && entry.name !== `${name}`),
    );
  }

  getEntries() {
    return this.#entries.toSorted((a, b) => a.startTime - b.startTime);
  }

  getEntriesByType(type) {
    requireArguments(arguments.length, 1, "getEntriesByType");
    return this.getEntries().filter((entry) => entry.entryType === `${type}`);
  }

  getEntriesByName(name, type) {
    requireArguments(arguments.length, 1, "getEntriesByName");
    const named = this.getEntries().filter((entry) => entry.name === `${name}`);
    return type === undefined ? named : named.filter((entry) => entry.entryType === `${type}`);
  }

  toJSON() {
    return { timeOrigin: this.#timeOrigin };
  }
}

function requireConsistent({ start, end, duration }, endMark) {
  if (endMark !== undefined) throw new TypeError("measure: endMark comes with a start mark only.");
  if (start === undefined && end === undefined) {
    throw new TypeError("measure: one of 'start' and 'end' is needed.");
  }
  if (start !== undefined && end !== undefined && duration !== undefined) {
    throw new TypeError("measure: only two of 'start', 'end' and 'duration' can be given.");
  }
}

const SHOWN = ["name", "entryType", "startTime", "duration"];
defineInterface(PerformanceEntry, { show: SHOWN });
defineInterface(PerformanceMark, { show: [...SHOWN, "detail"] });
defineInterface(PerformanceMeasure, { show: [...SHOWN, "detail"] });
defineInterface(Performance, { show: ["timeOrigin"] });

module.exports = {
  Performance,
  PerformanceEntry,
  PerformanceMark,
  PerformanceMeasure,
  performance: new Performance(PLATFORM),
};

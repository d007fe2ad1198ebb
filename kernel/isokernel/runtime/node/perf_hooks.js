"use strict";
// node:perf_hooks: the web's `performance`; nothing is observed.

const { refusedClass, refusedFunction } = require("node/stubs");

module.exports = {
  Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure,
  PerformanceObserver: refusedClass("perf_hooks", "PerformanceObserver"),
  constants: {},
  createHistogram: refusedFunction("perf_hooks", "createHistogram"),
  monitorEventLoopDelay: refusedFunction("perf_hooks", "monitorEventLoopDelay"),
  performance,
};

"""V8 by ctypes, through py_mini_racer's library. Knows nothing of Jupyter.

ctypes stays in this package. What it gives: `Isolate` (a heap with one context),
`Value` (a handle to something in it), `Snapshot` (a saved heap).

A V8 fatal error can't be caught: V8 ends the process (SIGTRAP, SIGILL or SIGABRT).
What can cause one:

* running out of memory in a place where V8 can't unwind: the near-heap-limit callback
  comes too late for a single huge allocation (`new Array(1e9).fill(0)`: "invalid table
  size"), and for malloc failing;
* writing a snapshot of what V8 can't save (`symbols.UNSAVABLE`: live Intl and
  Temporal objects, WebAssembly); hence snapshots are written in a forked child, and
  `live_objects` says what it was;
* reading a blob that another V8 or other flags wrote; hence blobs carry the engine's
  identity, which is compared first;
* a defect of V8, or of this binding.

Just before it ends, `on_fatal` is called with V8's words, so that a front can say so
to whoever waits; the process that started this one sees the signal.
"""

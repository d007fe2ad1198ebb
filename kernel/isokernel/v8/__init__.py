"""V8 by ctypes, through py_mini_racer's library. Knows nothing of Jupyter.

ctypes stays in this package. It exports `Isolate` (a heap with one context), `Value` (a
handle to something in it) and `Snapshot` (a saved heap).

    isolate                     runs JavaScript and reads its values; holds what follows
    memory rejections cleanups  what JavaScript may use, and what it leaves to its host
    scopes values callbacks     handles, conversions, and calls out of JavaScript
    natives                     what JavaScript can't see by itself
    snapshot writer             saved heaps and how they are written, in `children`
    live_objects shared optimizer references texts    what saving a heap needs
    library symbols pages       loading V8 and its functions
    selfcheck                   whether all of that holds here

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

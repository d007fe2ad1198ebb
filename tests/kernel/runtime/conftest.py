"""The web platform on a bare V8, with just enough around it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from py_mini_racer import JSPromise, MiniRacer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = """
const host = {
  errors: [],
  random: (n) => Uint8Array.from({ length: n }, () => Math.floor(Math.random() * 256)),
  now: () => Date.now() - started,
  reportError: (error) => host.errors.push(String(error)),
  clone(value, seen = new Map()) {
    if (typeof value === "function" || typeof value === "symbol") {
      throw new Error(`${String(value)} could not be cloned.`);
    }
    if (typeof value !== "object" || value === null) return value;
    if (seen.has(value)) return seen.get(value);
    let copy;
    if (value instanceof ArrayBuffer) copy = value.slice();
    else if (value instanceof Date) copy = new Date(value);
    else if (ArrayBuffer.isView(value)) {
      const buffer = host.clone(value.buffer, seen);
      copy = new value.constructor(buffer, value.byteOffset, value.length);
    } else copy = Array.isArray(value) ? [] : {};
    seen.set(value, copy);
    if (!ArrayBuffer.isView(value)) {
      for (const [k, v] of Object.entries(value)) copy[k] = host.clone(v, seen);
    }
    return copy;
  },
};
const started = Date.now();
const modules = new Map();
const loaded = [];
function require(name) {
  if (modules.has(name)) return modules.get(name).exports;
  const module = { exports: {} };
  modules.set(name, module);
  loaded.push(name);
  const body = new Function("exports", "require", "module", "host", sources[name]);
  body(module.exports, require, module, host);
  return module.exports;
}
globalThis.setTimeout = (callback) => void Promise.resolve().then(callback);
require("web/index").install(globalThis);
globalThis.internals = { host, loaded, lazyNames: require("web/index").lazyNames };
"""


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """Every module of the runtime, by the name that ``require`` knows it by."""
    spec = importlib.util.find_spec("isokernel")
    assert spec
    assert spec.submodule_search_locations
    runtime = Path(spec.submodule_search_locations[0]) / "runtime"
    return {
        f"{folder}/{path.stem}": path.read_text(encoding="utf-8")
        for folder in ("web", "vendor")
        for path in (runtime / folder).glob("*.js")
    }


@pytest.fixture
def run_js(sources: dict[str, str]) -> Iterator[Callable[[str], Any]]:
    """Run the body of an async function and give what it returns, by way of JSON."""
    with MiniRacer() as v8:
        v8.eval(f"{{ const sources = {json.dumps(sources)}; {HOST} }}")

        def run(body: str) -> Any:
            script = f"(async () => {{ {body} }})().then(JSON.stringify)"
            promise = v8.eval(script)
            assert isinstance(promise, JSPromise)
            answer = promise.get(timeout=30)
            return None if answer is None else json.loads(str(answer))

        yield run

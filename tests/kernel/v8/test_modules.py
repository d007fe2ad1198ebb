"""The binding to V8's modules, with a loader in twenty lines of JavaScript."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from isokernel.v8 import writer
from isokernel.v8.isolate import Thrown
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.isolates import HostedIsolate

FILES = {
    "b": "export let n = 10; export default 'd'; export function inc() { n++ }",
    "a": "import d, {n as x, inc} from 'b'; import {hello} from 'values:x';"
    "export let v = 1; export const look = () => [x, d, hello, import.meta.url].join();"
    "export function bump() { inc(); v++ } export const dynamic = (s) => import(s)",
    "one": "import {b} from 'two'; export const a = () => b; export const q = 1",
    "two": "import {a} from 'one'; export const b = () => a().call",
    "waits": "export const t = await new Promise((r) => { globalThis.go = r });",
    "after": "import {t} from 'waits'; export const w = t * 2",
    "throws": "export const before = 1; throw new RangeError('boo')",
    "lacks": "\n  import {nope} from 'b'",
    "refused": "export let x = 1;\nexport let = 3 3",
    "unlinked": "import {n} from 'b'; export const m = n",
    "busy": "export const a = 1; for (;;) {}",
    "needs": "import {a} from 'busy'; export const b = a",
}
LOADER = """
globalThis.values = { 'values:x': { hello: 'world', default: 7 } };
globalThis.problems = [];
globalThis.load = (url) => {
  if (statusOf(url) >= 0) return;
  if (url in values) return makeModule(url, JSON.stringify(Object.keys(values[url])));
  if (!(url in files)) throw new TypeError(`no ${url}`);
  const found = [...files[url].matchAll(/from '(.*?)'/g)].map(([, name]) => name);
  const targets = Object.fromEntries(found.map((name) => [name, name]));
  const problem = compileModule(url, files[url], JSON.stringify(targets));
  if (problem) { problems.push(problem.slice(1)); throw problem[0] }
  found.forEach(load);
};
globalThis.importModule = async (referrer, specifier, attributes) => {
  note(referrer, specifier, attributes.join());
  load(specifier);
  const problem = linkModule(specifier);
  if (problem) { problems.push(problem.slice(1)); throw problem[0] }
  await evaluateModule(specifier);
  return namespaceOf(specifier);
};
globalThis.describeModule = (url, meta) => { meta.url = `at:${url}` };
"""
VALUES_HOOK = """
globalThis.valuesOf = async (url) => {
  for (const name in values[url]) setExport(url, name, values[url][name]);
};
"""


def _prepare(bench: HostedIsolate) -> HostedIsolate:
    bench.cell(f"globalThis.files = {json.dumps(FILES)}; {LOADER} {VALUES_HOOK}")
    everything = bench.isolate.global_object()
    values = bench.isolate.get(everything, "valuesOf")
    bench.isolate.modules.find_hook = lambda name: (
        values if name == "evaluateModule" else bench.isolate.get(everything, name)
    )
    return bench


@pytest.fixture
def loading(benches: Callable[..., HostedIsolate]) -> Callable[..., HostedIsolate]:
    """Makes isolates that have the loader, blank or from a heap."""

    def make(saved: Snapshot | None = None) -> HostedIsolate:
        return _prepare(benches(saved))

    return make


def _again(
    loading: Callable[..., HostedIsolate], bench: HostedIsolate
) -> HostedIsolate:
    return loading(Snapshot.from_bytes(writer.save(bench.isolate).to_bytes()))


def test_imports_bindings_and_meta(loading: Callable[..., HostedIsolate]) -> None:
    bench = loading()
    bench.cell("globalThis.a = await import('a', {with: {type: 'x'}})")
    assert bench.notes == [("", "a", "type,x")]
    assert bench.cell("a.bump(); [a.look(), a.v].join()") == "11,d,world,at:a,2"
    assert bench.cell("(await a.dynamic('b')).n") == 11
    assert bench.notes[-1] == ("a", "b", "")
    assert bench.cell("(await import('one')).a()().name") == "call"
    assert bench.cell("(await import('a')) === a") is True


def test_where_it_fails(loading: Callable[..., HostedIsolate]) -> None:
    bench = loading()
    look = "await import('{}').catch((error) => String(error))"
    assert bench.cell(look.format("nowhere")) == "TypeError: no nowhere"
    assert bench.cell(look.format("throws")) == "RangeError: boo"
    assert bench.cell(look.format("throws")) == "RangeError: boo"
    assert bench.cell(look.format("lacks")) == (
        "SyntaxError: The requested module 'b' does not provide an export named 'nope'"
    )
    assert bench.cell("problems.at(-1).join()") == "lacks,2,10,14"
    assert "Unexpected" in bench.cell(look.format("refused"))
    assert bench.cell("problems.at(-1).slice(0, 2).join()") == "refused,2"


def test_import_where_nothing_can_be_imported(bench: HostedIsolate) -> None:
    bench.isolate.modules.find_hook = None
    thrown = bench.cell("await import('x')")
    assert isinstance(thrown, Thrown)
    assert "nothing can be imported here" in bench.text(thrown.value)


def test_stopped_evaluation(loading: Callable[..., HostedIsolate]) -> None:
    """V8 would wait for it for ever: what was under evaluation has to be dropped."""
    bench = loading()
    timer = threading.Timer(0.05, bench.isolate.terminate)
    timer.start()
    stopped = bench.isolate.evaluate("await import('needs')", "cell-2")
    timer.join()
    bench.isolate.resume()
    assert isinstance(stopped, Thrown)
    assert stopped.terminated
    bench.cell("dropModule('busy'); dropModule('needs'); files.busy = 'export let a=5'")
    assert bench.cell("(await import('needs')).b") == 5
    assert bench.cell("(await import('b')).n") == 10


def test_dropped_modules_live_on_in_what_imported_them(
    loading: Callable[..., HostedIsolate],
) -> None:
    bench = loading()
    bench.cell("globalThis.a = await import('a'); dropModule('b')")
    assert bench.cell("JSON.stringify(JSON.parse(moduleUrls()))") == '["a","values:x"]'
    assert bench.cell("(await import('b')).inc(); a.look()") == "10,d,world,at:a"


def test_saved_and_restored_three_times(loading: Callable[..., HostedIsolate]) -> None:
    bench = loading()
    bench.cell("globalThis.a = await import('a'); a.bump()")
    bench.cell("globalThis.waited = import('after').then((m) => m.w); load('unlinked')")
    bench.cell("await import('throws').catch(() => {})")
    bench.cell("await import('lacks').catch(() => {})")
    copy = _again(loading, bench)
    assert copy.cell("[a.look(), a.v].join()") == "11,d,world,at:a,2"
    assert copy.cell("(await import('a')) === a") is True
    assert copy.cell("(await a.dynamic('b')).inc(); a.look()") == "12,d,world,at:a"
    assert copy.cell("(await import('unlinked')).m") == 12
    assert copy.cell("await import('throws').catch(String)") == "RangeError: boo"
    assert "nope" in copy.cell("await import('lacks').catch(String)")
    third = _again(loading, copy)
    assert third.cell("go(21); await waited") == 42
    assert third.cell("(await import('a')) === a") is True
    fourth = _again(loading, third)
    assert fourth.cell("(await import('after')).w") == 42
    assert bench.cell("a.look()") == "11,d,world,at:a"


def test_a_script_has_a_name_and_places(loading: Callable[..., HostedIsolate]) -> None:
    bench = loading()
    assert bench.cell("runScript('pack:x', '(  1 + 2)', 3)[0]") == 3
    assert bench.cell("await runScript('pack:x', 'import(\"b\")', 0)[0]; 1") == 1
    assert bench.notes[-1] == ("pack:x", "b", "")
    assert bench.cell("runScript('pack:x', '(  a b)', 3).slice(1, 3).join()") == (
        "pack:x,1"
    )

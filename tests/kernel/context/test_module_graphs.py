"""Modules from outside of the context: graphs, CommonJS, heaps, interrupts."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.modules import ModulesContext
from tests.support.waiting import wait_for

from isokernel.context.events import Stream
from isokernel.errors import SnapshotFailedError
from isokernel.settings import ContextSettings
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local_contexts import Outcome

WORDS = "new Intl.Segmenter('en').segment('a b')"

FILES = {
    "npm:/counter@1/index.js": "export let n = 10; export const inc = () => { n += 1 };"
    "export default 'counted'; export { n as 'odd name' }",
    "npm:/uses@1/index.js": "import { n, inc } from 'counter'; export { inc };"
    "export const look = () => n; export const url = () => import.meta.url;"
    "export const load = (name) => import(name)",
    "npm:/cycle@1/index.js": "import { b } from './other.js'; export const a = () => b;"
    "export const q = 'cyclic'",
    "npm:/cycle@1/other.js": "import { a, q } from './index.js';"
    "export const b = () => [a() === b, q]",
    "npm:/waits@1/index.js": "export const t = await new Promise((done) => {"
    "globalThis.go = done })",
    "npm:/after@1/index.js": "import { t } from 'waits'; export const w = t * 2",
    "npm:/throws@1/index.js": "\nthrow new RangeError('not today')",
    "npm:/refused@1/index.js": "export const a = 1;\nexport const b = ;",
    "npm:/lacks@1/index.js": "import { nope } from 'counter'",
    "npm:/hoping@1/index.js": "import { hoped } from 'old'",
    "npm:/busy@1/index.js": "globalThis.times = (globalThis.times ?? 0) + 1;"
    "export const a = times; if (a === 1) console.log('begun'); while (a === 1);",
    "npm:/stuck@1/index.js": "await null; globalThis.rounds ??= 0; rounds += 1;"
    "export const r = rounds; if (r === 1) console.log('begun'); while (r === 1);",
    "npm:/old@1/index.cjs": "#!/usr/bin/env node\nexports.name = 'old';"
    "exports.self = module.exports; exports.dir = __dirname;"
    "exports.late = () => require('./part.cjs').value; exports.top = this === exports",
    "npm:/old@1/part.cjs": "module.exports = { value: require('./index.cjs').name }",
    "npm:/esmodule@1/index.cjs": "exports.__esModule = true; exports.default = 'd';"
    "exports.named = 'n'",
    "npm:/fails@1/index.cjs": "globalThis.tries = (globalThis.tries ?? 0) + 1;"
    "if (tries === 1) throw new Error('first time'); exports.tries = tries",
    "npm:/bad@1/index.cjs": "exports.a = 1;\nexports.b = ;",
    "npm:/mixed@1/index.js": "import old, { name } from 'old'; import path from "
    "'node:path'; export default [old.name, name, path.sep].join()",
    "npm:/both@1/index.cjs": "exports.counted = require('counter').default;"
    "exports.sep = require('path').sep; exports.missing = (() => {"
    "try { return require('missing') } catch (e) { return e.code } })()",
    "npm:/slow@1/index.cjs": "globalThis.spins = (globalThis.spins ?? 0) + 1;"
    "if (spins === 1) console.log('begun'); while (spins === 1); exports.spins = spins",
    "npm:/types@1/index.ts": "import { T } from './kinds.ts'; enum E { A = 1 }\n"
    "export const a: T = E.A;\nexport function fail(): never { throw new Error('ts') }",
    "npm:/thenable@1/index.js": "export const then = 1, a = 2",
    "npm:/assets@1/index.js": "export const load = async () =>"
    "(await fetch(new URL('table.csv', import.meta.url))).text()",
    "npm:/assets@1/table.csv": "a,b",
    "npm:/words@1.2.0/index.cjs": f"exports.kept = [{{ words: {WORDS} }}]",
    "npm:/hidden@1.2.0/index.cjs": f"const words = {WORDS};"
    "exports.count = () => [...words].length",
    "npm:/private@1.2.0/index.js": f"const cache = new Map([['en', {WORDS}]]);"
    "export const count = () => cache.size",
    "npm:/classes@1.2.0/index.js": f"export class Box {{ #words = {WORDS};"
    " get size() { return [...this.#words].length } }",
    "npm:/types@1/kinds.ts": "export type T = number",
    "file:///data.json": '{"k": [1, 2]}',
    "file:///broken.json": '{"k": }',
    "file:///note.js": "export const text = 'code'",
    "file:///folder/a.js": "export { text } from '../note.js'",
    "file:///a%20b%25/odd.cjs": "exports.at = __filename;"
    "exports.beside = require('module').createRequire(__filename)('../note.js').text",
}


@pytest.fixture
def importing() -> Iterator[Callable[..., ModulesContext]]:
    made: list[ModulesContext] = []

    def make(**options: Any) -> ModulesContext:
        options.setdefault("settings", ContextSettings(cell_timeout_seconds=20))
        made.append(ModulesContext(dict(FILES), **options))
        return made[-1]

    yield make
    for session in made:
        session.context.close()


@pytest.fixture
def session(importing: Callable[..., ModulesContext]) -> ModulesContext:
    return importing()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import d, { n, inc } from 'counter'; inc(); [d, n].join()", "'counted,10'"),
        ("import * as c from 'counter'; c.inc(); c.n", "11"),
        ("import { 'odd name' as odd } from 'counter'; odd", "10"),
        ("import { inc, look } from 'uses'; inc(); look()", "11"),
        ("import { url } from 'uses'; url()", "'npm:/uses@1/index.js'"),
        ("const u = await import('uses'); (await u.load('counter')).n", "10"),
        ("import { a } from 'cycle'; a()().join()", "'true,cyclic'"),
        ("import j from './data.json' with { type: 'json' }; j.k.length", "2"),
        ("(await import('./data.json', { with: { type: 'json' } })).default.k[1]", "2"),
        ("import t from './note.js' with { type: 'text' }; t.slice(0, 6)", "'export'"),
        ("import { text } from './folder/a.js'; text", "'code'"),
        (
            "import old, { name, dir } from 'old'; [old.name, name, dir].join()",
            "'old,old,npm:/old@1'",
        ),
        (
            "import * as o from 'old'; Object.keys(o).join()",
            "'default,dir,late,module.exports,name,self,top'",
        ),
        ("import e, { named } from 'esmodule'; [e.default, named].join()", "'d,n'"),
        ("import m from 'mixed'; m", "'old,old,/'"),
        ("require('old').late()", "'old'"),
        ("const o = require('old'); [o.self === o, o.top].join()", "'true,true'"),
        ("require('counter').default", "'counted'"),
        (
            "const b = require('both'); [b.counted, b.sep, b.missing].join()",
            "'counted,/,ERR_MODULE_NOT_FOUND'",
        ),
        ("require('./data.json').k[0]", "1"),
        (
            "require.resolve('old') + require.resolve('./note.js')",
            "'npm:/old@1/index.cjs/note.js'",
        ),
        (
            "const { at, beside } = require('./a%20b%25/odd.cjs'); [at, beside].join()",
            "'/a b%/odd.cjs,code'",
        ),
        ("import { a } from 'types'; a", "1"),
        ("import { then, a } from 'thenable'; then + a", "3"),
        ("import { load } from 'assets'; await load()", "'a,b'"),
    ],
)
def test_what_an_import_gives(session: ModulesContext, code: str, text: str) -> None:
    assert session.value(code) == text


def test_a_graph_comes_in_one_call_and_is_known_then(session: ModulesContext) -> None:
    session.run("import 'uses'; import 'cycle'")
    assert len(session.asked) == 1
    assert [one["specifier"] for one in session.asked[0]["specifiers"]] == [
        "uses",
        "cycle",
    ]
    session.run("import { n } from 'uses'")
    session.run("import 'uses'; await import('uses')")
    session.run("import 'counter'")
    assert len(session.asked) == 2
    assert "npm:/uses@1/index.js" in session.asked[1]["known"]
    session.run("require('old'); require('both')")
    assert "npm:/old@1/index.cjs" in session.asked[-1]["known"]


def test_one_module_whoever_imports_it(session: ModulesContext) -> None:
    code = "import * as c from 'counter'; (await import('counter')) === c && "
    assert session.value(code + "require('counter') === c") == "true"
    session.run("import { inc } from 'uses'; inc()")
    assert session.value("c.n") == "11"


@pytest.mark.parametrize(
    ("code", "error", "place"),
    [
        ("import 'counter';\nimport x from 'absent'", "no module 'absent'", "1:2:15"),
        ("await import('absent')", "no module 'absent'", "cell 1:1:1"),
        ("require('absent')", "no module 'absent'", "cell 1:1:1"),
        ("import 'throws'", "not today", "npm:/throws@1/index.js:2:7"),
        ("import 'refused'", "Unexpected token", "npm:/refused@1/index.js:2:18"),
        ("import 'lacks'", "export named 'nope'", "npm:/lacks@1/index.js:1:10"),
        (
            "import { name, nope } from 'old'; nope()",
            "import pkg from 'old'; const { nope } = pkg;",
            "cell 1:1:16",
        ),
        ("import { 'a b' as c } from 'old'; c()", 'pkg["a b"];', "cell 1:1:10"),
        (
            "import 'hoping'",
            "Named export 'hoped' not found. The requested module 'old' is a CommonJS",
            "npm:/hoping@1/index.js:1:10",
        ),
        (
            "import { k } from './data.json' with { type: 'json' }; k()",
            "import value from './data.json' with { type: 'json' };",
            "cell 1:1:10",
        ),
        (
            "import { k } from './note.js' with { type: 'text' }; k()",
            "'./note.js' is a text, which has a default export only",
            "cell 1:1:10",
        ),
        ("require('bad')", "Unexpected token", "npm:/bad@1/index.cjs:2:13"),
        ("import './broken.json'", "file:///broken.json", "broken.json"),
        ("import { fail } from 'types'; fail()", "ts", "npm:/types@1/index.ts:3:"),
        ("import n from './note.js' with { type: 'json' }", "is not JSON", "1:1:15"),
    ],
)
def test_errors_say_where(
    session: ModulesContext, code: str, error: str, place: str
) -> None:
    failure = session.run(code).failure
    assert error in failure.evalue
    assert place in "\n".join(failure.traceback)


def test_errors_of_modules_stay_but_not_those_of_loading(
    session: ModulesContext,
) -> None:
    first = session.run("await import('throws')").failure
    assert session.run("import 'throws'").failure.evalue == first.evalue
    session.files["npm:/absent@1/index.js"] = "export default 'found'"
    session.run("await import('absent')")
    session.files["npm:/later@1/index.js"] = "export const now = true"
    assert session.value("import { now } from 'later'; now") == "true"
    assert "first time" in session.run("require('fails')").failure.evalue
    assert session.value("require('fails').tries") == "2"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("import fails from 'fails'", "import fails from 'fails'; fails.tries"),
        ("import { tries } from 'fails'", "import { tries } from 'fails'; tries"),
        ("await import('fails')", "(await import('fails')).default.tries"),
        ("import 'fails'", "(await import('fails')).tries"),
        ("await import('fails')", "import * as m from 'fails'; m.tries"),
        ("import 'fails'", "require('fails').tries"),
        ("require('fails')", "import fails from 'fails'; fails.tries"),
    ],
)
def test_a_commonjs_module_that_has_failed_runs_again(
    session: ModulesContext, first: str, again: str
) -> None:
    """What it lacked may be there now; it is no module without exports."""
    assert "first time" in session.run(first).failure.evalue
    assert session.value(again) == "2"
    assert session.value(again) == "2"


def test_two_imports_at_once(session: ModulesContext) -> None:
    code = "const [x, y, z] = await Promise.all([import('uses'), import('uses'), "
    code += "import('counter')]); [x === y, x.look() === z.n].join()"
    assert session.value(code) == "'true,true'"


def _stop(session: ModulesContext, code: str) -> Outcome:
    """Run a cell, and interrupt it once it has printed something."""

    def printed() -> bool:
        return any(isinstance(event, Stream) for event in list(session.events))

    def interrupt() -> None:
        wait_for(printed)
        session.context.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome = session.run(code)
    thread.join()
    return outcome


@pytest.mark.parametrize(
    ("code", "again", "text"),
    [
        ("import 'busy'", "import { a } from 'busy'; a", "2"),
        ("await import('stuck')", "import { r } from 'stuck'; r", "2"),
        ("require('slow')", "require('slow').spins", "2"),
    ],
)
def test_an_interrupted_import_can_be_repeated(
    session: ModulesContext, code: str, again: str, text: str
) -> None:
    assert _stop(session, code).failure.ename == "KeyboardInterrupt"
    assert session.value(again) == text


def test_an_import_that_nobody_answers_is_interrupted(session: ModulesContext) -> None:
    session.held = True
    assert (
        _stop(session, "console.log('begun'); await import('counter')").failure.ename
        == "KeyboardInterrupt"
    )
    session.held = False
    session.serve()
    assert session.value("import { n } from 'counter'; n") == "10"


def test_top_level_await_holds_the_cell(session: ModulesContext) -> None:
    session.run("setTimeout(() => go(21), 1)")
    session.files["npm:/after@1/index.js"] = FILES["npm:/after@1/index.js"]
    session.run("globalThis.timer = setInterval(() => globalThis.go?.(21), 1)")
    assert session.value("import { w } from 'after'; clearInterval(timer); w") == "42"


def test_modules_are_saved_with_the_context(
    session: ModulesContext, importing: Callable[..., ModulesContext]
) -> None:
    session.run("import * as uses from 'uses'; uses.inc(); const old = require('old')")
    session.run("var later = import('after'); later.then((m) => { var got = m.w });1")
    session.run("import 'mixed'; import j from './data.json'; import 'counter'")
    session.run("await import('throws').catch(() => {})")
    for _ in range(2):
        heap = Snapshot.from_bytes(session.context.heaps.save().to_bytes())
        session = importing(snapshot=heap)
        session.files.clear()  # offline
        assert session.value("uses.look()") == "11"
        assert session.value("(await import('uses')) === uses") == "true"
        assert session.value("require('old') === old && old.late()") == "'old'"
        assert session.value("import { n } from 'counter'; n") == "11"
        assert session.value("(await uses.load('counter')).n") == "11"
        failure = session.run("import 'throws'").failure
        assert "not today" in failure.evalue
    session.run("go(21)")
    assert session.value("(await later).w") == "42"
    assert session.value("import { w } from 'after'; w") == "42"
    assert not session.asked


@pytest.mark.parametrize(
    ("code", "path", "holder"),
    [
        (
            "require('npm:/words@1.2.0/index.cjs'); 0",
            'require("npm:/words@1.2.0/index.cjs").kept[0].words',
            None,
        ),
        (
            "require('npm:/hidden@1.2.0/index.cjs'); 0",
            "words",
            "npm:/hidden@1.2.0/index.cjs",
        ),
        (
            "import { count } from 'npm:/hidden@1.2.0/index.cjs'",
            "words",
            "npm:/hidden@1.2.0/index.cjs",
        ),
        (
            "import { count } from 'npm:/private@1.2.0/index.js'",
            "cache[…]",
            "npm:/private@1.2.0/index.js",
        ),
        (
            "import { Box } from 'npm:/classes@1.2.0/index.js';"
            "const boxes = [0, { box: new Box() }]; 0",
            "boxes[1].box.#words",
            "npm:/classes@1.2.0/index.js",
        ),
        (
            "import { Box } from 'npm:/classes@1.2.0/index.js';"
            "globalThis.box = new Box(); 0",
            "box.#words",
            "npm:/classes@1.2.0/index.js",
        ),
        (
            f"const f = (() => {{ const w = {WORDS}; return () => w }})()",
            "w",
            "a function",
        ),
        (f"const o = {{ f() {{}}, words: {WORDS} }}", "o.words", None),
    ],
)
def test_what_holds_an_object_that_cannot_be_saved(
    session: ModulesContext, code: str, path: str, holder: str | None
) -> None:
    session.run("1")
    assert session.run(code).error is None
    with pytest.raises(SnapshotFailedError) as caught:
        session.context.heaps.save()
    error = caught.value
    assert (error.kind, error.path, error.holder) == ("Intl.Segments", path, holder)
    assert session.value("1 + 1") == "2"


def test_a_call_in_flight_is_lost_with_its_process(
    session: ModulesContext, importing: Callable[..., ModulesContext]
) -> None:
    session.held = True
    session.run("var pending = import('counter'); 1")
    heap = Snapshot.from_bytes(session.context.heaps.save().to_bytes())
    copy = importing(snapshot=heap)
    code = "await pending.then(() => 'came', (error) => error.code)"
    assert copy.value(code) == "'call_lost'"
    assert copy.value("(await import('counter')).n") == "10"


def test_what_a_cell_asks_for_is_plain_data(session: ModulesContext) -> None:
    """Changed built-ins have no say in it."""
    session.run(
        "Object.prototype.toJSON = () => 'mine'; Array.prototype.map = null;"
        "Promise.prototype.then = null; Map.prototype.get = null; 0"
    )
    assert session.value("import { n } from 'counter'; n") == "10"
    assert json.loads(json.dumps(session.asked))[0]["kind"] == "import"


def test_integrity_is_compared_by_whoever_loads(session: ModulesContext) -> None:
    """Once for each hash that an import names, also of a module that is there."""
    url = "npm:/counter@1/index.js"
    for integrity in ("sha384-a", "sha384-b", "sha384-a"):
        options = f"{{ with: {{ integrity: '{integrity}' }} }}"
        assert session.value(f"typeof await import('{url}', {options})") == "'object'"
    session.run(f"import '{url}' with {{ integrity: 'sha384-c' }}")
    said = [asked["specifiers"][0]["attributes"] for asked in session.asked]
    assert said == [{"integrity": f"sha384-{one}"} for one in "abc"]

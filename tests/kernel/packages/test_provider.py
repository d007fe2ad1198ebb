"""Packages from npm in a context: imported, used, saved, restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.held_contexts import Desk, HeldContext, open_desk
from tests.support.registry import PackageRegistry, serve_registry

from isokernel.packages.npmrc import Npmrc
from isokernel.packages.provider import ModuleProvider
from isokernel.packages.settings import PackageSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from isokernel.packages.packer import Packer


@pytest.fixture(scope="module")
def registry() -> Iterator[PackageRegistry]:
    with serve_registry() as registry:
        registry.publish(
            "sums",
            "1.2.0",
            {
                "index.js": "import {one} from 'ones'; import './side.js';\n"
                "export const sum = (...all) => all.reduce((a, b) => a + b, 0);\n"
                "export let count = 0; export const more = () => { count += one };\n"
                "export const here = import.meta.url",
                "side.js": "globalThis.sides = (globalThis.sides ?? 0) + 1",
                "late.js": "export default 'late'",
                "data.json": '{"a": [1]}',
                "odd.wasm": b"\0asm\1\0\0\0\xff",
                "sales.arrow": b"ARROW1\0\0\xff",
                "load.js": "export const load = async () => (await fetch(new URL("
                "'./sales.arrow', import.meta.url))).bytes()",
                "sums.js.map": "{}",
                "text.csv": "a,b",
            },
            type="module",
            exports={".": "./index.js", "./*": "./*"},
            dependencies={"ones": "^1"},
        )
        registry.publish(
            "ones",
            "1.0.0",
            {
                "index.js": "exports.one = 1; exports.later = () => require('./b')",
                "files.js": "const {readFileSync, existsSync} = require('node:fs');"
                "const {join} = require('node:path');"
                "const path = (name) => join(__dirname, '..', 'ones@1.0.0', name);"
                "exports.text = readFileSync(path('data/a.txt'), 'utf8');"
                "exports.there = existsSync(path('data/a.txt'));"
                "exports.no = existsSync(path('data/b.txt'));"
                "try { readFileSync(path('b.txt')) } "
                "catch (error) { exports.code = error.code }",
                "passes.js": "module.exports = require('./index.js')",
                "data/a.txt": "beside it",
                "b.js": "module.exports = 'b' + (() => { try { require('nosuch') } "
                "catch (e) { return e.code } })()",
            },
        )
        # Two are more than other calls may answer, three more than these may.
        large = {"index.js": f"exports.size = `{'x' * (12 << 20)}`.length"}
        names = ("large-a", "large-b", "large-c")
        for name in names:
            registry.publish(name, files=large)
        for name, number in (("two", 2), ("three", 3)):
            sizes = " + ".join(f"require('{each}').size" for each in names[:number])
            registry.publish(
                name,
                files={"index.js": f"exports.size = ({sizes}) >> 20"},
                dependencies=dict.fromkeys(names, "1"),
            )
        registry.publish("broken", files={"index.js": "throw new Error('at load')"})
        yield registry


@pytest.fixture
def desk(
    registry: PackageRegistry, tmp_path_factory: pytest.TempPathFactory, packer: Packer
) -> Iterator[Desk]:
    folder = tmp_path_factory.getbasetemp() / "provider-cache"
    settings = PackageSettings(
        cache_dir=str(folder), npmrc=Npmrc({"registry": registry.url}), retries_max=0
    )
    with open_desk(
        {"modules": lambda: ModuleProvider(lambda: settings, packer)}
    ) as desk:
        yield desk
    assert not desk.defects


@pytest.fixture
def make(desk: Desk) -> Iterator[Callable[..., HeldContext]]:
    made: list[HeldContext] = []

    def make(**options: Any) -> HeldContext:
        made.append(HeldContext(desk, **options))
        return made[-1]

    yield make
    for context in made:
        context.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import {sum} from 'npm:sums@1'; sum(1, 2)", "3"),
        ("import {sum} from 'sums'; sum(1, 2)", "3"),
        ("(await import('npm:sums')).here", "'npm:/sums@1.2.0/index.js'"),
        ("import * as s from 'sums'; s.more(); s.count", "1"),
        ("import data from 'sums/data.json' with {type: 'json'}; data.a", "[ 1 ]"),
        ("import text from 'sums/text.csv' with {type: 'text'}; text", "'a,b'"),
        ("await (await fetch('npm:sums/text.csv')).text()", "'a,b'"),
        ("await (await fetch('npm:sums@^1.2/text.csv')).text()", "'a,b'"),
        ("import ones, {one} from 'ones'; ones.one + one", "2"),
        ("require('ones').later()", "'bERR_MODULE_NOT_FOUND'"),
        ("require('sums').sum(2, 3)", "5"),
        ("import.meta.resolve('sums/odd.wasm')", "'npm:/sums@1.2.0/odd.wasm'"),
        (
            "const url = import.meta.resolve('sums/odd.wasm'); "
            "(await (await fetch(url)).bytes()).length",
            "9",
        ),
        ("import {load} from 'sums/load.js'; (await load()).at(-1)", "255"),
        ("require('two').size + require('three').size", "60"),
        ("require('ones'); (await import('ones/passes.js')).one", "1"),
        ("(await (await fetch('npm:sums/sales.arrow')).bytes()).length", "9"),
    ],
)
def test_imports(make: Callable[..., HeldContext], code: str, text: str) -> None:
    assert make().value(code) == text


def test_a_package_reads_files_beside_it(make: Callable[..., HeldContext]) -> None:
    context = make()
    code = "const {text, there, no, code} = require('ones/files.js');"
    found = context.value(f"{code} [text, there, no, code]")
    assert found == "[ 'beside it', true, false, 'ENOENT' ]"
    for path in ("npm:/nosuch@1.0.0/a.txt", "npm:/ones@1.0.0/../../../etc/passwd"):
        code = f"require('fs').readFileSync({path!r})"
        assert context.run(code).failure.ename == "Error", path


@pytest.mark.parametrize(
    ("code", "ename", "evalue"),
    [
        ("import 'npm:nosuch'", "Error", "check its spelling"),
        ("import {nope} from 'sums'", "SyntaxError", "does not provide an export"),
        ("import 'sums/nope.js'", "Error", "sums@1.2.0 has no file 'nope.js'"),
        ("import 'npm:sums@9'", "Error", "no version '9'"),
        ("import 'broken'", "Error", "at load"),
        ("import './x.js'", "Error", "the context has no folder"),
        ("require('three')", "Error", "can come at a time: import a part of it before"),
        ("await fetch('npm:sums')", "TypeError", "it names no file of the package"),
        ("await fetch('npm:sums/no.csv')", "TypeError", "has no file 'no.csv'"),
        ("await fetch('npm:sums/sums.js.map')", "TypeError", "without source maps"),
        ("await fetch('npm:/sums@9.9/text.csv')", "TypeError", "no version '9.9'"),
    ],
)
def test_errors(
    make: Callable[..., HeldContext], code: str, ename: str, evalue: str
) -> None:
    failure = make().run(code).failure
    assert failure.ename == ename
    assert evalue in failure.evalue


def test_a_heap_goes_on_with_its_packages(make: Callable[..., HeldContext]) -> None:
    context = make()
    context.run("import * as s from 'sums'; s.more(); let own = s.sum")
    listing = "Jupyter.packages().map((p) => [p.name, p.version, p.modules].join(' '))"
    listed = "[ 'sums 1.2.0 2', 'ones 1.0.0 2' ]"
    assert context.value(listing) == listed
    later = make(snapshot=context.context.heaps.save())
    assert later.value(listing) == listed
    assert later.value("s.more(); [s.count, own === s.sum, sides]") == "[ 2, true, 1 ]"
    code = (
        "import late from 'npm:sums/late.js'; import * as t from 'sums';"
        " [late, s === t]"
    )
    assert later.value(code) == "[ 'late', true ]"


@pytest.mark.parametrize(
    ("code", "others"),
    [
        ("import 'sums'", ["npm:ones", "npm:ones@1.0.0"]),
        ("await fetch('npm:sums/text.csv')", []),
    ],
)
def test_what_is_asked_of_policies(
    make: Callable[..., HeldContext], desk: Desk, code: str, others: list[str]
) -> None:
    make().run(code)
    assert [(one.capability, one.target) for one in desk.asked] == [
        ("modules", "npm:sums"),  # before the registry is asked
        ("modules", "npm:sums@1.2.0"),
        *(("modules", target) for target in others),
    ]


@pytest.mark.network
def test_the_real_registry(tmp_path: Path) -> None:
    """One small package, by a range: metadata, tarball, hash."""
    settings = PackageSettings(cache_dir=str(tmp_path))
    with open_desk({"modules": lambda: ModuleProvider(lambda: settings)}) as desk:
        context = HeldContext(desk, seconds=200)
        try:
            code = "import once, {strict} from 'npm:once@^1.4.0'; once(() => 5)()"
            assert context.value(code) == "5"
            packages = context.value("Jupyter.packages().map((p) => p.name).join()")
            assert packages == "'once,wrappy'"
        finally:
            context.close()
    assert desk.grant.lock["packages"]["once@1.4.0"] == (
        "sha512-lNaJgI+2Q5URQBkccEKHTQOPaXdUxnZZElQTZY0MFUAuaEqe1E+Nyvgdz/aIyNi6Z9MzO5dv1H8n58/GELp3+w=="
    )

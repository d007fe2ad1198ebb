"""Code of modules, made once; and graphs that are kept for other contexts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.held_contexts import HeldContext, open_desk

from isokernel.capabilities import Grant
from isokernel.errors import ModuleMissingError
from isokernel.packages.cache import Cache
from isokernel.packages.graphs import Source
from isokernel.packages.provider import ModuleProvider
from isokernel.packages.service import Packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.kernel.packages.conftest import Loader
    from tests.support.held_contexts import Desk
    from tests.support.registry import PackageRegistry

    from isokernel.packages.answers import GraphAnswer

TEXT = (
    "import {b} from './b.js'; export * from './b.js';\nimport c, {d} from './c.cjs';\n"
    "export const list = () => ['ü', b, c.d, d].join();\n"
    "export function fail() {\n  throw new Error('on line 5') }"
)


@pytest.fixture(autouse=True)
def package(registry: PackageRegistry) -> None:
    registry.publish(
        "a",
        files={
            "index.js": TEXT,
            "b.js": "\ufeffexport const b = 'b'; export * from './late.js'",
            "late.js": "export const late = () => import('./more.js')",
            "more.js": "export default 1",
            "c.cjs": "#!/usr/bin/env node\nexports.d = 'd'; exports.stop = () => {\n"
            " throw new Error('ü on line 3') }",
            "broken.js": "export const x = ;",
        },
        type="module",
        exports={".": "./index.js", "./*": "./*"},
    )


@pytest.fixture
def desk(loader: Loader) -> Iterator[Desk]:
    provider = ModuleProvider(lambda: loader.settings, loader.packer)
    with open_desk({"modules": lambda: provider}) as desk:
        yield desk
        desk.run(ended(provider.packages))
    assert not desk.defects


async def ended(packages: Packages) -> None:
    """Wait until all has been compiled."""
    while packages._running:
        await asyncio.wait(list(packages._running.values()))


def answers(
    loader: Loader, *asked: str
) -> Sequence[tuple[GraphAnswer, dict[str, Any]]]:
    """What contexts that begin anew get one after the other, and their locks."""

    async def load() -> list[tuple[GraphAnswer, dict[str, Any]]]:
        packages = Packages(loader.settings, loader.packer)
        found = []
        try:
            for specifier in asked:
                loader.lock = {}
                found.append(
                    (
                        await packages.answer(
                            [(specifier, {})],
                            loader.access(),
                        ),
                        loader.lock,
                    )
                )
                await ended(packages)
        finally:
            await packages.close()
        return found

    return asyncio.run(load())


def codes(loader: Loader) -> list[Path]:
    return list(Path(loader.settings.cache_dir).glob("code/*/*/*"))


def test_modules_are_made_of_code(desk: Desk) -> None:
    places = []
    for taken in (0, 5):  # more.js is imported later, c.cjs is a script
        desk.grant = Grant("test", desk._allow)
        context = HeldContext(desk)
        try:
            code = "import {list, fail, late} from 'a'; list() + (await late()).default"
            assert context.value(code) == "'ü,b,d,d1'"
            places.append(context.run("fail()").failure.traceback)
            stop = "(await import('a/c.cjs')).stop()"
            places.append(context.run(stop).failure.traceback)
            modules = context.context.bridge.isolate.modules
            assert (modules.code_taken, modules.code_refused) == (taken, 0)
        finally:
            context.close()
        desk.run(ended(desk.provider("modules").packages))
    assert places[:2] == places[2:]
    assert "npm:/a@1.0.0/index.js:5:9" in "".join(places[0])
    assert "npm:/a@1.0.0/c.cjs:3:8" in "".join(places[1])


def _keep_code(desk: Desk) -> None:
    """Have the code of a package made and kept, and begin anew with that."""
    first = HeldContext(desk)
    first.run("import {list} from 'a'")
    first.close()
    desk.run(ended(desk.provider("modules").packages))
    desk.grant = Grant("test", desk._allow)


def test_a_heap_has_what_was_made_of_code(desk: Desk) -> None:
    _keep_code(desk)
    context = HeldContext(desk)
    context.run("import {list} from 'a'")
    assert context.context.bridge.isolate.modules.code_taken
    later = HeldContext(desk, snapshot=context.context.heaps.save())
    assert later.value("list()") == "'ü,b,d,d'"
    context.close()
    later.close()


def test_restored_contexts_take_code(desk: Desk) -> None:
    _keep_code(desk)
    blank = HeldContext(desk)
    restored = HeldContext(desk, snapshot=blank.context.heaps.save())
    code = "import {list} from 'a'; list()"
    for context in (blank, restored):
        desk.grant = Grant("test", desk._allow)
        assert context.value(code) == "'ü,b,d,d'"
        modules = context.context.bridge.isolate.modules
        assert (modules.code_taken, modules.code_refused) == (4, 0)
        context.close()


def test_damaged_code_is_made_anew(loader: Loader) -> None:
    first, second = answers(loader, "a", "a")
    assert len(second[0].data) > len(first[0].data)
    (file,) = codes(loader)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (again,) = answers(loader, "a")
    assert again[0].data == first[0].data
    assert file.read_bytes() == whole


def test_code_is_left_out_where_it_has_no_room(loader: Loader) -> None:
    first, second = answers(loader, "a", "a")
    loader.more["bytes_max"] = len(second[0].data) - 1
    (third,) = answers(loader, "a")
    assert third[0].data == first[0].data


def test_what_v8_refuses_has_no_code(loader: Loader) -> None:
    first, second, third = answers(loader, "a/broken.js", "a/broken.js", "a/more.js")
    assert first[0] == second[0]
    assert third[0].text != first[0].text
    assert codes(loader)


def test_the_code_cache_can_be_off(loader: Loader) -> None:
    loader.settings = loader.settings._replace(code_cache=False)
    first, second = answers(loader, "a", "a")
    assert first == second
    assert not codes(loader)


def test_code_goes_with_its_pack_when_there_is_no_room(loader: Loader) -> None:
    answers(loader, "a", "a")
    cache = Cache(loader.settings.cache_dir, 1)
    assert cache.collect() == 2
    assert not codes(loader)


def test_a_kept_graph_is_decided_like_a_new_one(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("top", files={"index.js": "import 'a'"}, dependencies={"a": "^1"})
    asked = []
    kept = []
    for specifier in ("npm:top", "npm:top"):
        found = answers(loader, specifier, specifier, specifier)
        kept += [lock for _, lock in found]
        count = len(loader.asked) // len(found)
        asked += [loader.asked[:count], loader.asked[count : 2 * count]]
        asked.append(loader.asked[2 * count :])
        loader.asked.clear()
    assert asked == [asked[0]] * len(asked)
    assert [target for target, _ in asked[0]][-1] == "npm:a@1.0.0"
    assert kept == [kept[0]] * len(kept)


def test_what_is_denied_is_not_had_from_a_kept_graph(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("top", files={"index.js": "import 'a'"}, dependencies={"a": "^1"})

    async def load() -> str:
        packages = Packages(loader.settings, loader.packer)

        async def ask() -> None:
            loader.lock = {}
            access = loader.access()
            await packages.answer([("npm:top", {})], access)
            await ended(packages)

        try:
            for _ in range(3):
                await ask()
            loader.asked.clear()
            loader.denied["npm:a@1.0.0"] = ModuleMissingError("not that one")
            with pytest.raises(ModuleMissingError) as caught:
                await ask()
        finally:
            await packages.close()
        return str(caught.value)

    message = asyncio.run(load())
    assert message == "not that one (imported by npm:/top@1.0.0/index.js)"
    targets = [target for target, _ in loader.asked]
    assert targets == ["npm:top@1.0.0", "npm:a@1.0.0"]  # each was asked for once
    assert "a@1.0.0" not in loader.lock["packages"]


class Folder:
    """A context's files, of which some may appear."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def read_module(self, path: str) -> Source | bool:
        if path in self.files:
            return Source(self.files[path])
        return any(each.startswith(f"{path}/") for each in self.files)


def test_files_are_found_before_a_kept_graph(loader: Loader) -> None:
    folder = Folder()
    folder.files["node_modules/other/package.json"] = b"{}"
    loader.more["files"] = folder

    async def load() -> list[str]:
        packages = Packages(loader.settings, loader.packer)
        found = []
        try:
            for number in range(4):
                loader.lock = {}
                if number == 3:
                    folder.files["node_modules/a/package.json"] = b'{"name": "a"}'
                    folder.files["node_modules/a/index.js"] = b"own"
                answer = await packages.answer([("a", {})], loader.access())
                await ended(packages)
                found.append(answer.text)
        finally:
            await packages.close()
        return found

    first, second, third, own = asyncio.run(load())
    assert first != second == third  # with code; and the one that was kept
    assert '"a":"file:///node_modules/a/index.js"' in own


def test_a_kept_graph_ends_when_the_registry_is_to_be_asked(
    registry: PackageRegistry, loader: Loader
) -> None:
    loader.settings = loader.settings._replace(metadata_fresh_seconds=0.0)
    answers(loader, "npm:a", "npm:a", "npm:a")
    assert registry.paths().count("/a") == 3


def test_versions_that_were_loaded_are_preferred_to_a_kept_graph(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("a", "1.1.0", {"index.js": "export {}"}, type="module")

    async def load() -> list[str]:
        packages = Packages(loader.settings, loader.packer)
        found = []
        try:
            for known in ([], [], [], ["npm:/a@1.0.0/more.js"]):
                loader.lock = {}
                answer = await packages.answer(
                    [("a", {})], loader.access(), known=known
                )
                await ended(packages)
                found.append(answer.text)
        finally:
            await packages.close()
        return found

    *kept, last = asyncio.run(load())
    assert all("npm:/a@1.1.0/index.js" in text for text in kept)
    assert "npm:/a@1.0.0/index.js" in last

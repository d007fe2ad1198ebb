"""Whole graphs of packages and files, as Node.js would resolve them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.errors import (
    CapabilityDeniedError,
    ModuleMissingError,
    ModuleSpecifierError,
    PackageDamagedError,
    PackageError,
    PackageExportError,
    PackageLimitError,
)
from isokernel.packages.graphs import Source
from isokernel.packages.resolver import file_url

if TYPE_CHECKING:
    from tests.kernel.packages.conftest import Loader
    from tests.support.registry import PackageRegistry


def by_url(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {module["url"]: module for module in graph["modules"]}


class Folder:
    """A context's files; links are folders that lead to others."""

    def __init__(
        self, files: dict[str, str], links: dict[str, str] | None = None
    ) -> None:
        self.files = {path: text.encode() for path, text in files.items()}
        self.links = links or {}
        self.read: list[str] = []

    async def read_module(self, path: str) -> Source | bool:
        self.read.append(path)
        for link, target in self.links.items():
            if path == link or path.startswith(f"{link}/"):
                path = target + path[len(link) :]
        if path in self.files:
            return Source(self.files[path], url=file_url(path))
        return any(known.startswith(f"{path}/") for known in self.files)


class Web:
    """Modules at addresses."""

    def __init__(self, pages: dict[str, str | Source]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def get_module(self, url: str) -> Source:
        self.asked.append(url)
        if url not in self.pages:
            message = f"{url} answers with status 404"
            raise ModuleMissingError(message)
        page = self.pages[url]
        return page if isinstance(page, Source) else Source(page.encode(), "", url)


def test_a_package_with_what_it_imports(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("leaf", "1.2.0", {"index.js": "exports.x = require('fs')"})
    registry.publish(
        "root",
        "2.0.1",
        {
            "a.js": 'import {x} from "leaf"; import "./b.js"; export * from "./c.js"',
            "b.js": 'import j from "./j.json" with {type: "json"}',
            "c.js": 'import {a} from "./a.js"; export const c = 1',
            "j.json": "{}",
        },
        type="module",
        exports={".": "./a.js"},
        dependencies={"leaf": "^1.0.0"},
    )
    graph = loader.load("npm:root@2")
    assert graph["roots"] == {"npm:root@2": "npm:/root@2.0.1/a.js"}
    modules = by_url(graph)
    assert {url: module["format"] for url, module in modules.items()} == {
        "npm:/root@2.0.1/a.js": "esm",
        "npm:/root@2.0.1/b.js": "esm",
        "npm:/root@2.0.1/c.js": "esm",
        "npm:/root@2.0.1/j.json": "json",
        "npm:/leaf@1.2.0/index.js": "commonjs",
        "node:fs": "builtin",
    }
    assert modules["npm:/root@2.0.1/a.js"]["imports"] == {
        "leaf": "npm:/leaf@1.2.0/index.js",
        "./b.js": "npm:/root@2.0.1/b.js",
        "./c.js": "npm:/root@2.0.1/c.js",
    }
    assert modules["npm:/leaf@1.2.0/index.js"]["exports"] == ["x"]
    assert modules["npm:/leaf@1.2.0/index.js"]["imports"] == {"fs": "node:fs"}
    assert modules["npm:/root@2.0.1/j.json"]["source"] == "{}"
    assert modules["npm:/leaf@1.2.0/index.js"]["package"] == "leaf@1.2.0"


def test_what_is_known_is_not_sent_again(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish(
        "a",
        files={"index.mjs": "import 'b'"},
        main="index.mjs",
        dependencies={"b": "*"},
    )
    registry.publish("b", files={"index.js": ""})
    known = [module["url"] for module in loader.load("b")["modules"]]
    assert list(by_url(loader.load("a", known=known))) == ["npm:/a@1.0.0/index.mjs"]


def test_versions_of_a_heap_are_those_that_it_has(
    registry: PackageRegistry, loader: Loader
) -> None:
    for version in ("1.0.0", "1.1.0"):
        registry.publish("a", version, {"index.js": "require('./b')", "b.js": ""})
    known = ["npm:/a@1.0.0/index.js"]
    urls = loader.urls("npm:a@1", "npm:a/b.js", known=known)
    assert urls == {
        "npm:a@1": "npm:/a@1.0.0/index.js",
        "npm:a/b.js": "npm:/a@1.0.0/b.js",
    }


def test_code_may_name_a_version_without_a_scheme(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("a", "1.5.0", {"index.js": "", "b.js": ""})
    registry.publish("a", "2.0.0", {"index.js": ""})
    assert loader.urls("a@1") == {"a@1": "npm:/a@1.5.0/index.js"}
    assert loader.urls("a@1/b.js") == {"a@1/b.js": "npm:/a@1.5.0/b.js"}


def test_native_add_ons_are_told(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish(
        "native", files={"it.node": "", "index.js": "require('./other.node')"}
    )
    registry.publish("whole", files={"it.node": ""}, main="it.node")
    for name in ("whole", "native/other.node"):
        with pytest.raises(ModuleMissingError, match="needs a native add-on"):
            loader.load(name)


def test_what_a_dependency_has_asked_for_is_found(
    registry: PackageRegistry, loader: Loader
) -> None:
    """As in npm's one folder, which some packages rely on."""
    registry.publish("long", "4.0.0", {"index.js": ""})
    registry.publish("long", "5.0.0", {"index.js": ""})
    registry.publish("core", dependencies={"deep": "*"}, files={"index.js": ""})
    registry.publish("deep", dependencies={"long": "^4", "core": "*"}, files={})
    registry.publish(
        "root", files={"index.js": "require('long')"}, dependencies={"core": "*"}
    )
    modules = by_url(loader.load("root"))
    imports = modules["npm:/root@1.0.0/index.js"]["imports"]
    assert imports == {"long": "npm:/long@4.0.0/index.js"}


def test_versions_are_kept_and_shared(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("react", "18.0.0", {"index.js": ""})
    registry.publish(
        "dom",
        files={"index.js": "require('react')"},
        peerDependencies={"react": ">=17"},
    )
    assert loader.urls("npm:react@18") == {"npm:react@18": "npm:/react@18.0.0/index.js"}
    registry.publish("react", "19.0.0", {"index.js": ""})
    registry.packages["react"]["dist-tags"]["latest"] = "19.0.0"
    dom = by_url(loader.load("dom"))["npm:/dom@1.0.0/index.js"]
    assert dom["imports"] == {"react": "npm:/react@18.0.0/index.js"}
    assert loader.urls("npm:react") == {"npm:react": "npm:/react@18.0.0/index.js"}
    assert loader.lock["requests"]["react@18"] == "18.0.0"
    loader.lock.clear()
    assert loader.urls("npm:react@19") == {"npm:react@19": "npm:/react@19.0.0/index.js"}


def test_peers_that_are_optional_are_not_fetched(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish(
        "a",
        files={"index.js": "try { require('canvas') } catch {}; require('maybe')"},
        peerDependencies={"canvas": "*"},
        peerDependenciesMeta={"canvas": {"optional": True}},
        optionalDependencies={"maybe": "^1"},
    )
    registry.publish("canvas", files={"index.js": ""})
    module = by_url(loader.load("a"))["npm:/a@1.0.0/index.js"]
    assert module["imports"] == {}
    loader.load("canvas")
    module = by_url(loader.load("a"))["npm:/a@1.0.0/index.js"]
    assert module["imports"] == {"canvas": "npm:/canvas@1.0.0/index.js"}


def test_aliases_in_package_json(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish(
        "a",
        files={"index.js": "require('old')"},
        dependencies={"old": "npm:@scope/real@^2"},
    )
    registry.publish("@scope/real", "2.3.0", {"index.js": ""})
    module = by_url(loader.load("a"))["npm:/a@1.0.0/index.js"]
    assert module["imports"] == {"old": "npm:/@scope/real@2.3.0/index.js"}


def test_jsr_packages_come_from_its_npm_registry(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish(
        "@jsr/std__path",
        "1.0.2",
        {"mod.js": "export const a = 1"},
        type="module",
        exports={".": "./mod.js"},
    )
    urls = loader.urls("jsr:@std/path@1")
    assert urls == {"jsr:@std/path@1": "npm:/@jsr/std__path@1.0.2/mod.js"}


RESOLUTION: dict[str, Any] = {
    "exports": {
        ".": {"browser": "./web.js", "import": "./index.mjs", "require": "./index.cjs"},
        "./sub/*": "./lib/*.js",
        "./sub/hidden": None,
        "./missing": "./nowhere.js",
        "./out": "./../out.js",
        "./node": {"node": "./index.cjs"},
    },
    "imports": {"#in": "./lib/in.js", "#other": "other", "#fs": "node:fs"},
}


@pytest.mark.parametrize(
    ("specifier", "kind", "path"),
    [
        ("pkg", "import", "web.js"),
        ("pkg", "require", "web.js"),
        ("pkg/sub/a", "import", "lib/a.js"),
        ("pkg/sub/deep/b", "import", "lib/deep/b.js"),
    ],
)
def test_exports(
    registry: PackageRegistry, loader: Loader, specifier: str, kind: str, path: str
) -> None:
    files = {"web.js": "", "index.mjs": "", "lib/a.js": "", "lib/deep/b.js": ""}
    registry.publish("pkg", files=files, **RESOLUTION)
    assert loader.urls(specifier, kind=kind)[specifier] == f"npm:/pkg@1.0.0/{path}"


@pytest.mark.parametrize(
    ("specifier", "path"),
    [
        ("npm:/pkg@1.0.0/index.mjs", "index.mjs"),
        ("npm:/pkg@1.0.0/lib/../lib/in", "lib/in.js"),
        ("npm:/pkg@1.0.0/lib", "lib/index.js"),
    ],
)
def test_urls_of_files_are_no_subpaths(
    registry: PackageRegistry, loader: Loader, specifier: str, path: str
) -> None:
    """Code has them of what it has resolved, and of `__dirname`."""
    files = {"web.js": "", "index.mjs": "", "lib/in.js": "", "lib/index.js": ""}
    registry.publish("pkg", files=files, **RESOLUTION)
    for kind in ("import", "require"):
        found = loader.urls(specifier, kind=kind)[specifier]
        assert found == f"npm:/pkg@1.0.0/{path}"
    for wrong in ("npm:/pkg@1.0.0/no.js", "npm:/pkg@1.0.0/../x.js"):
        with pytest.raises((ModuleMissingError, ModuleSpecifierError)):
            loader.load(wrong)


def test_conditions_are_a_setting(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish("pkg", files={"index.mjs": "", "index.cjs": ""}, **RESOLUTION)
    loader.settings = loader.settings._replace(conditions=("node",))
    assert loader.urls("pkg") == {"pkg": "npm:/pkg@1.0.0/index.mjs"}
    assert loader.urls("pkg", kind="require") == {"pkg": "npm:/pkg@1.0.0/index.cjs"}
    assert loader.urls("pkg/node") == {"pkg/node": "npm:/pkg@1.0.0/index.cjs"}


@pytest.mark.parametrize(
    ("specifier", "error", "says"),
    [
        ("pkg/lib/a.js", PackageExportError, "doesn't export './lib/a.js'; its"),
        ("pkg/sub/hidden", PackageExportError, "for the conditions"),
        ("pkg/node", PackageExportError, "for the conditions browser, default"),
        ("pkg/missing", ModuleMissingError, "no file 'nowhere.js'"),
        ("pkg/out", PackageExportError, "isn't in the package's folder"),
        ("pkg/sub/../../x", PackageExportError, "leaves the package's folder"),
        ("nosuch", ModuleMissingError, "no package 'nosuch' at http"),
        ("npm:pkg@9", ModuleMissingError, "no version '9'; its latest version is 1"),
        ("npm:pkg@a b", ModuleSpecifierError, "neither a version, a range nor a tag"),
        ("./x.js", ModuleMissingError, "the context has no folder"),
        ("#x", PackageExportError, "has no import '#x'"),
        ("http://a.example/x.js", ModuleSpecifierError, "over https: only"),
        ("ftp://a.example/x.js", ModuleSpecifierError, "nothing is known by ftp:"),
        ("https://a.example/x.js", ModuleSpecifierError, "need a network"),
    ],
)
def test_errors_say_what_to_do(
    registry: PackageRegistry,
    loader: Loader,
    specifier: str,
    error: type[Exception],
    says: str,
) -> None:
    registry.publish("pkg", files={"web.js": ""}, **RESOLUTION)
    with pytest.raises(error, match=says):
        loader.load(specifier)


@pytest.mark.parametrize(
    ("specifier", "says"),
    [
        ("pkg/a.js.map", "no file './a.js.map': packages are kept without source maps"),
        ("pkg/a.d.ts", r"type declarations of the modules beside them \(.d.ts\)"),
        ("pkg/b.md", "no file './b.md'$"),
        ("told/types", r"names for './types': packages are kept without type"),
    ],
)
def test_what_packs_leave_out_is_told(
    registry: PackageRegistry, loader: Loader, specifier: str, says: str
) -> None:
    files = {"a.js": "", "a.js.map": "{}", "a.d.ts": ""}
    registry.publish("pkg", files=files)
    registry.publish("told", files=files, exports={"./types": "./a.d.ts"})
    with pytest.raises(ModuleMissingError, match=says):
        loader.load((specifier, {"type": "text"}))


def test_errors_name_the_importers(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish(
        "a",
        files={"index.mjs": "import './b.mjs'", "b.mjs": "import 'nosuch'"},
        main="index.mjs",
    )
    found = r"npm:/a@1.0.0/b.mjs, which was imported by npm:/a@1.0.0/index.mjs"
    with pytest.raises(ModuleMissingError, match=found):
        loader.load("a")


def test_private_imports_and_the_package_itself(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("other", files={"index.js": ""})
    registry.publish(
        "pkg",
        files={
            "web.js": "import '#in'; import '#other'; import '#fs'; import 'pkg/sub/a'",
            "lib/in.js": "import 'other'; import './deep/er/x.js';"
            " import '../own/x.js'",
            "lib/deep/er/x.js": "import '#other'",
            "own/package.json": '{"type": "module"}',
            "own/x.js": "import 'other'",
            "lib/a.js": "",
        },
        type="module",
        dependencies={"other": "1"},
        **RESOLUTION,
    )
    module = by_url(loader.load("pkg"))["npm:/pkg@1.0.0/web.js"]
    assert module["imports"] == {
        "#in": "npm:/pkg@1.0.0/lib/in.js",
        "#other": "npm:/other@1.0.0/index.js",
        "#fs": "node:fs",
        "pkg/sub/a": "npm:/pkg@1.0.0/lib/a.js",
    }


def test_browser_maps(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish(
        "pkg",
        files={
            "index.js": "require('./node'); require('fs'); require('ws')",
            "node.js": "",
            "web.js": "",
        },
        browser={"./node.js": "./web.js", "fs": False, "ws": "./web.js"},
    )
    module = by_url(loader.load("pkg"))["npm:/pkg@1.0.0/index.js"]
    assert module["imports"] == {
        "./node": "npm:/pkg@1.0.0/web.js",
        "fs": "empty:",
        "ws": "npm:/pkg@1.0.0/web.js",
    }


def test_commonjs_looks_for_endings_and_folders(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish(
        "pkg",
        files={
            "lib/main.js": "require('./a'); require('./b'); require('..');"
            " require('./c/')",
            "lib/a.json": "{}",
            "lib/b/index.js": "",
            "lib/c/package.json": '{"main": "d"}',
            "lib/c/d.js": "",
            "index.js": "",
        },
        main="lib/main",
    )
    module = by_url(loader.load("pkg"))["npm:/pkg@1.0.0/lib/main.js"]
    assert module["imports"] == {
        "./a": "npm:/pkg@1.0.0/lib/a.json",
        "./b": "npm:/pkg@1.0.0/lib/b/index.js",
        "..": "npm:/pkg@1.0.0/lib/main.js",
        "./c/": "npm:/pkg@1.0.0/lib/c/d.js",
    }


@pytest.mark.parametrize(
    ("path", "text", "kind", "format_"),
    [
        ("a.js", "exports.a = 1", None, "commonjs"),
        ("a.js", "export const a = 1", None, "esm"),
        ("a.js", "import.meta.url", None, "esm"),
        ("a.js", "// import x from 'y'", None, "commonjs"),
        ("a.js", "const t = 'export {}'; import('x')", None, "commonjs"),
        ("a.js", "exports.a = 1", "module", "esm"),
        ("a.js", "", "commonjs", "commonjs"),
        ("a.js", "export {}", "commonjs", "esm"),
        ("a.mjs", "", "commonjs", "esm"),
        ("a.cjs", "", "module", "commonjs"),
        ("a.json", "{}", "module", "json"),
    ],
)
def test_formats(  # noqa: PLR0917, PLR0913 - a table
    registry: PackageRegistry,
    loader: Loader,
    path: str,
    text: str,
    kind: str | None,
    format_: str,
) -> None:
    more = {} if kind is None else {"type": kind}
    registry.publish("pkg", files={path: text}, main=path, **more)
    assert loader.load("pkg")["modules"][0]["format"] == format_


def test_names_of_commonjs_come_through_what_it_passes_on(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish(
        "pkg",
        files={
            "index.js": "module.exports = require('./a'); exports.own = 1",
            "a.js": "__exportStar(require('./b'), exports); exports.a = 1",
            "b.js": "exports.b = 1; __exportStar(require('./a'), exports)",
            "c.js": "module.exports = require('stream')",
        },
    )
    module = by_url(loader.load("pkg"))["npm:/pkg@1.0.0/index.js"]
    assert sorted(module["exports"]) == ["a", "b", "own"]
    module = loader.load("pkg/c.js")["modules"][0]
    assert module["reexports"] == ["node:stream"]


def test_json_and_text_by_attribute(registry: PackageRegistry, loader: Loader) -> None:
    files = {"d.csv": "a,b", "j.json": "{}", "a.js": "1", "w.wasm": "\0asm"}
    registry.publish("pkg", files=files)
    text = loader.load(("pkg/d.csv", {"type": "text"}))
    assert text["roots"] == {"pkg/d.csv": "npm:/pkg@1.0.0/d.csv#text"}
    assert text["modules"][0]["format"] == "text"
    assert text["modules"][0]["source"] == "a,b"
    assert loader.load(("pkg/a.js", {"type": "text"}))["modules"][0]["source"] == "1"
    assert (
        loader.load(("pkg/j.json", {"type": "json"}))["modules"][0]["format"] == "json"
    )
    for specifier, attributes, says in (
        ("pkg/d.csv", {}, 'with { type: "text" }'),
        ("pkg/w.wasm", {}, "instantiateStreaming.*resolve.'pkg/w.wasm'"),
        ("pkg/a.js", {"type": "json"}, "no JSON"),
        ("pkg/a.js", {"type": "css"}, "no type 'css'"),
    ):
        with pytest.raises(ModuleSpecifierError, match=says):
            loader.load((specifier, attributes))


def test_each_package_is_decided_about(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("a", files={"index.js": "require('b')"}, dependencies={"b": "1"})
    registry.publish("b", files={"index.js": "require('c')"}, dependencies={"c": "1"})
    registry.publish("c", files={"index.js": ""})
    loader.load("npm:a")
    expected = [
        ("npm:a@1.0.0", {"dependents": []}),
        ("npm:b@1.0.0", {"dependents": ["npm:a@1.0.0"]}),
        ("npm:c@1.0.0", {"dependents": ["npm:b@1.0.0", "npm:a@1.0.0"]}),
    ]
    assert loader.asked == expected
    loader.asked.clear()
    loader.load("npm:a")  # from the lock
    assert loader.asked == expected
    loader.asked.clear()
    loader.load("./index.js", referrer="npm:/c@1.0.0/x.js")  # as it was brought
    assert loader.asked == expected[2:]
    loader.asked.clear()
    loader.load("npm:c")  # by itself
    assert loader.asked == [("npm:c@1.0.0", {"dependents": []})]
    for referrer, dependents in (
        ("", []),
        ("npm:/a@1.0.0/index.js", ["npm:a@1.0.0"]),
        ("npm:/c@1.0.0/x.js", ["npm:b@1.0.0", "npm:a@1.0.0"]),
    ):
        loader.asked.clear()
        loader.load("npm:/c@1.0.0/index.js", referrer=referrer)
        assert ("npm:c@1.0.0", {"dependents": dependents}) in loader.asked


def test_what_is_denied_is_not_downloaded(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("a", files={"index.js": ""})
    loader.denied["npm:a@1.0.0"] = PackageError("denied")
    with pytest.raises(PackageError, match="denied"):
        loader.load("npm:a")
    assert registry.paths() == ["/a"]
    assert loader.lock["packages"] == {}


# -- files ---------------------------------------------------------------------------


def test_files_of_the_context(registry: PackageRegistry, loader: Loader) -> None:
    registry.publish("fromnpm", "2.1.0", {"index.js": ""})
    loader.more["files"] = folder = Folder(
        {
            "package.json": '{"dependencies": {"fromnpm": "^2"}, "imports": {"#l":'
            ' "./lib/a.js"}}',
            "lib/a.js": "import './b.ts'; import 'local'; import 'fromnpm';"
            " import '#l'",
            "lib/b.ts": "import type {T} from './nosuch'; export const b: number = 1",
            "data.json": "{}",
            "node_modules/local/package.json": '{"exports": "./m.js",'
            ' "type": "module"}',
            "node_modules/local/m.js": "export default 1",
        }
    )
    graph = loader.load("./lib/a.js", "#l", ("./data.json", {"type": "json"}))
    modules = by_url(graph)
    assert graph["roots"]["./lib/a.js"] == graph["roots"]["#l"] == "file:///lib/a.js"
    assert modules["file:///lib/a.js"]["imports"] == {
        "./b.ts": "file:///lib/b.ts",
        "local": "file:///node_modules/local/m.js",
        "fromnpm": "npm:/fromnpm@2.1.0/index.js",
        "#l": "file:///lib/a.js",
    }
    assert modules["file:///lib/b.ts"]["format"] == "esm"
    assert modules["file:///lib/b.ts"]["language"] == "typescript"
    assert modules["file:///data.json"]["format"] == "json"
    assert not any(".." in path for path in folder.read)


@pytest.mark.parametrize(
    ("specifier", "kind", "found"),
    [
        ("./a%20b%23%25/x.js?1#2", "import", "file:///a%20b%23%25/x.js"),
        ("./a b#%/x.js", "require", "file:///a%20b%23%25/x.js"),
        ("/a b#%/x", "require", "file:///a%20b%23%25/x.js"),
        ("file:///a%20b%23%25/x.js", "import", "file:///a%20b%23%25/x.js"),
        ("file:///a%20b%23%25/x.js", "require", "file:///a%20b%23%25/x.js"),
    ],
)
def test_paths_with_odd_characters(
    loader: Loader, specifier: str, kind: str, found: str
) -> None:
    loader.more["files"] = Folder({"a b#%/x.js": ""})
    assert loader.urls(specifier, kind=kind) == {specifier: found}


@pytest.mark.parametrize(
    ("specifier", "kind", "found"),
    [
        ("bare", "import", "file:///node_modules/bare/index.js"),
        ("bare", "require", "file:///node_modules/bare/index.js"),
        ("bare/sub.js", "import", "file:///node_modules/bare/sub.js"),
        ("bare/sub", "require", "file:///node_modules/bare/sub.js"),
        ("@scope/bare", "import", "file:///node_modules/@scope/bare/index.js"),
        ("nomain", "import", "file:///node_modules/nomain/index.js"),
        ("nomain", "require", "file:///node_modules/nomain/index.js"),
        ("file", "require", "file:///node_modules/file.js"),
        ("data", "require", "file:///node_modules/data.json"),
        ("file.js", "require", "file:///node_modules/file.js"),
        # In Node.js only `require` takes files for packages.
        ("file", "import", "npm:/file@1.0.0/index.js"),
        ("nosuch", "import", "npm:/nosuch@1.0.0/index.js"),
        ("nosuch", "require", "npm:/nosuch@1.0.0/index.js"),
    ],
)
def test_installed_packages_need_no_package_json(
    registry: PackageRegistry, loader: Loader, specifier: str, kind: str, found: str
) -> None:
    for name in ("bare", "nomain", "file", "data", "nosuch"):
        registry.publish(name, files={"index.js": "", "sub.js": ""})
    loader.more["files"] = Folder(
        {
            "node_modules/bare/index.js": "",
            "node_modules/bare/sub.js": "",
            "node_modules/@scope/bare/index.js": "",
            "node_modules/nomain/package.json": '{"version": "3.0.0"}',
            "node_modules/nomain/index.js": "",
            "node_modules/file.js": "",
            "node_modules/data.json": "{}",
        }
    )
    assert loader.urls(specifier, kind=kind) == {specifier: found}


@pytest.mark.parametrize("package", ['{"main": "main.js"}', None])
def test_links_in_node_modules_are_followed(
    registry: PackageRegistry, loader: Loader, package: str | None
) -> None:
    """As pnpm makes them: what a package needs is beside it, not beside the link."""
    registry.publish("bar", files={"index.js": ""})
    kept = "node_modules/.pnpm"
    main = "index.js" if package is None else "main.js"
    files = {
        f"{kept}/foo@1/node_modules/foo/{main}": "require('bar'); require('./own')",
        f"{kept}/foo@1/node_modules/foo/own.js": "",
        f"{kept}/bar@2/node_modules/bar/index.js": "",
    }
    if package is not None:
        files[f"{kept}/foo@1/node_modules/foo/package.json"] = package
    loader.more["files"] = Folder(
        files,
        {
            "node_modules/foo": f"{kept}/foo@1/node_modules/foo",
            f"{kept}/foo@1/node_modules/bar": f"{kept}/bar@2/node_modules/bar",
        },
    )
    modules = by_url(loader.load("foo"))
    assert modules[f"file:///{kept}/foo@1/node_modules/foo/{main}"]["imports"] == {
        "bar": f"file:///{kept}/bar@2/node_modules/bar/index.js",
        "./own": f"file:///{kept}/foo@1/node_modules/foo/own.js",
    }


def test_an_installed_package_without_its_file_is_not_taken_from_npm(
    registry: PackageRegistry, loader: Loader
) -> None:
    registry.publish("empty", files={"index.js": "", "sub.js": ""})
    loader.more["files"] = Folder(
        {
            "node_modules/empty/README": "",
            "node_modules/shut/package.json": '{"exports": {}}',
        }
    )
    for specifier in ("empty", "empty/sub.js"):
        with pytest.raises(ModuleMissingError, match="folder 'node_modules/empty'"):
            loader.load(specifier)
    with pytest.raises(PackageExportError, match="folder 'node_modules/shut' doesn't"):
        loader.load("shut")


@pytest.mark.parametrize(
    "specifier",
    [
        "../x.js",
        "./a/../../x.js",
        "file:///../x.js",
        "file://host/x.js",
        "/../x.js",
        "./%2e%2e/x.js",
    ],
)
def test_imports_stay_in_the_folder(loader: Loader, specifier: str) -> None:
    loader.more["files"] = folder = Folder({"x.js": ""})
    try:
        loader.load(specifier)
    except ModuleSpecifierError:
        return
    # URLs end at the top: `/../x.js` is `/x.js`.
    assert all(".." not in path for path in folder.read)
    assert specifier in {"file:///../x.js", "/../x.js"}


# -- addresses -----------------------------------------------------------------------

SOURCE = "import './b.js'; import '/c.js'; export const a = 1"


def test_modules_at_addresses(loader: Loader) -> None:
    loader.more["addresses"] = web = Web(
        {
            "https://a.example/x/a.js": SOURCE,
            "https://a.example/x/b.js": "",
            "https://a.example/c.js": "",
        }
    )
    graph = loader.load("https://a.example/x/a.js")
    assert sorted(by_url(graph)) == sorted(web.pages)
    assert set(loader.lock["addresses"]) == set(web.pages)
    web.pages.clear()  # again, from the cache
    assert sorted(by_url(loader.load("https://a.example/x/a.js"))) == sorted(web.asked)


def test_what_an_address_is_redirected_to(loader: Loader) -> None:
    text = "import './b.js'"
    loader.more["addresses"] = web = Web(
        {
            "https://a.example/x": Source(
                text.encode(), "text/javascript", "https://b.example/x/y"
            ),
            "https://b.example/x/b.js": "",
        }
    )
    for _ in range(2):  # the second time from the cache
        graph = loader.load("https://a.example/x")
        assert graph["roots"] == {"https://a.example/x": "https://b.example/x/y"}
        assert sorted(by_url(graph)) == [
            "https://b.example/x/b.js",
            "https://b.example/x/y",
        ]
        assert by_url(graph)["https://b.example/x/y"]["format"] == "esm"
        web.pages.clear()


def test_what_came_from_an_address_stays_the_same(loader: Loader) -> None:
    url = "https://a.example/a.js"
    loader.more["addresses"] = web = Web({url: "1"})
    loader.load(url)
    web.pages[url] = "2"
    loader.settings = loader.settings._replace(
        cache_dir=f"{loader.settings.cache_dir}-other"
    )
    with pytest.raises(
        PackageDamagedError, match=r"the context's lock says sha512-.* in a new context"
    ):
        loader.load(url)


def test_integrity_of_an_import(loader: Loader) -> None:
    url = "https://a.example/a.js"
    loader.more["addresses"] = Web({url: "1"})
    right = "sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s="
    assert loader.load((url, {"integrity": right}))["modules"][0]["source"] == "1"
    loader.lock.clear()
    wrong = "sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0t="
    for known in ([], [url]):  # also what is in the context, and the cache, already
        with pytest.raises(PackageDamagedError) as refused:
            loader.load((url, {"integrity": wrong}), known=known)
        text = str(refused.value)
        assert f"{url} has the hash {right}, but its import says {wrong}" in text
    assert loader.load((url, {"integrity": right}), known=[url])["modules"] == []
    # The strongest counts, each of several may be it, what isn't known doesn't matter.
    strong = "sha384-R/BdNnsMMuQ4+2Pmz0pfNcKqL5DcdUP4pBoPlc6KQKMTq1zzYTSiBoxMlpy1Dbd2"
    several = f"{wrong} md5-x {strong[:-1]}B {strong}?opt"
    assert loader.load((url, {"integrity": several}))["modules"]
    with pytest.raises(PackageDamagedError, match="has the hash sha384-"):
        loader.load((url, {"integrity": f"{right} {strong[:-1]}B"}))
    with pytest.raises(PackageDamagedError, match="is no hash such as"):
        loader.load((url, {"integrity": "md5-x"}))
    with pytest.raises(ModuleSpecifierError, match="are in the context's lock"):
        loader.load(("node:fs", {"integrity": right}))


def test_data_urls(loader: Loader) -> None:
    urls = (
        "data:text/javascript,export%20default%201",
        "data:application/json,1",
        "data:text/javascript;base64,ZXhwb3J0IGRlZmF1bHQgMQ==",
    )
    formats = [module["format"] for module in loader.load(*urls)["modules"]]
    assert sorted(formats) == ["esm", "esm", "json"]


# -- limits --------------------------------------------------------------------------


def test_graphs_are_limited(registry: PackageRegistry, loader: Loader) -> None:
    files = {f"{n}.mjs": f"import './{n + 1}.mjs'" for n in range(20)}
    registry.publish("a", files={**files, "20.mjs": ""}, main="0.mjs")
    assert len(loader.load("a")["modules"]) == 21
    settings = loader.settings
    for name, limited in (
        ("graph_modules_max", settings._replace(graph_modules_max=20)),
        ("graph_bytes_max", settings._replace(graph_bytes_max=100)),
    ):
        loader.settings = limited
        with pytest.raises(PackageLimitError, match=name):
            loader.load("a")


def test_a_project_says_which_versions(
    registry: PackageRegistry, loader: Loader
) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        registry.publish("dep", version, {"index.js": ""})
    code = {"index.js": "require('dep')"}
    registry.publish("root", "1.0.0", code, dependencies={"dep": "^1"})
    registry.publish("root", "3.0.0", code, dependencies={"dep": "^1"})
    project = {"devDependencies": {"root": "1"}, "overrides": {"root": {"dep": "2"}}}
    loader.more["files"] = folder = Folder({"package.json": json.dumps(project)})
    graph = loader.load("root")
    assert graph["roots"]["root"] == "npm:/root@1.0.0/index.js"
    assert "npm:/dep@2.0.0/index.js" in by_url(graph)
    assert loader.load("dep")["roots"]["dep"] == "npm:/dep@2.0.0/index.js", "shared"
    loader.lock.clear()
    folder.files.clear()
    graph = loader.load("root")
    assert graph["roots"]["root"] == "npm:/root@3.0.0/index.js"
    assert "npm:/dep@1.1.0/index.js" in by_url(graph)


def test_a_folder_that_may_not_be_read_is_none(
    registry: PackageRegistry, loader: Loader
) -> None:
    class Denied:
        async def read_module(self, path: str) -> Source | bool:
            capability, setting = "files", "a policy"
            raise CapabilityDeniedError(capability, path, setting)

    registry.publish(
        "root", files={"index.js": "require('dep')"}, dependencies={"dep": "1"}
    )
    registry.publish("dep", files={"index.js": ""})
    loader.more["files"] = Denied()
    assert loader.load("root")["roots"]["root"] == "npm:/root@1.0.0/index.js"
    assert loader.load("root", kind="require")["roots"]["root"].startswith("npm:")
    for own in ("./own.js", "./node_modules/root/index.js"):
        with pytest.raises(CapabilityDeniedError):
            loader.load(own)

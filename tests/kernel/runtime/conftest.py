"""The web platform on a bare V8, with just enough around it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from py_mini_racer import JSPromise, MiniRacer
from tests.support.web import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def web() -> str:
    """A script that installs the web platform on a bare V8."""
    spec = importlib.util.find_spec("isokernel")
    assert spec
    assert spec.submodule_search_locations
    runtime = Path(spec.submodule_search_locations[0]) / "runtime"
    sources = {
        f"{folder}/{path.stem}": path.read_text(encoding="utf-8")
        for folder in ("web", "vendor")
        for path in (runtime / folder).glob("*.js")
    }
    sources["intrinsics"] = (runtime / "intrinsics.js").read_text(encoding="utf-8")
    # Libraries of other parts of the runtime are most of the text, which V8 reads anew
    # for each test.
    everything = "".join(sources.values())
    used = {
        name: source
        for name, source in sources.items()
        if not name.startswith("vendor/") or f'"{name}"' in everything
    }
    return f"{{ const sources = {json.dumps(used)}; {HOST} }}"


@pytest.fixture
def run_js(web: str) -> Iterator[Callable[[str], Any]]:
    """Run the body of an async function and give what it returns, by way of JSON."""
    with MiniRacer() as v8:
        v8.eval(web)

        def run(body: str) -> Any:
            script = f"(async () => {{ {body} }})().then(JSON.stringify)"
            promise = v8.eval(script)
            assert isinstance(promise, JSPromise)
            answer = promise.get(timeout=30)
            return None if answer is None else json.loads(str(answer))

        yield run

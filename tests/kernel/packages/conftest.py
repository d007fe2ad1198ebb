"""A registry on loopback, and packages that come from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.leaks import KEPT
from tests.support.packages import read_graph
from tests.support.registry import PackageRegistry, serve_registry

from isokernel.packages.npmrc import Npmrc
from isokernel.packages.packer import Packer
from isokernel.packages.service import Packages
from isokernel.packages.settings import PackageSettings
from isokernel.packages.supplies import Access
from isokernel.sandbox import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture
def registry() -> Iterator[PackageRegistry]:
    with serve_registry() as registry:
        yield registry


@pytest.fixture(scope="session")
def packer() -> Iterator[Packer]:
    """A packer whose process serves all tests."""
    packer = Packer(
        sandbox=SandboxSettings(),
        seconds_max=60,
        unpacked_bytes_max=16 << 20,
        files_max=1000,
    )
    packer.analyse("a.js", b"", is_module=None)
    assert packer._process is not None
    KEPT.add(packer._process.pid)
    yield packer
    packer.close()


class Loader:
    """Packages for one context: each call has a loop of its own, as tests have none.

    Attributes:
        lock: The context's.
        asked: What was to be decided, with its facts.
        denied: Targets that are denied.
    """

    def __init__(self, settings: PackageSettings, packer: Packer | None) -> None:
        self.settings = settings
        self.packer = packer
        self.lock: dict[str, Any] = {}
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.denied: dict[str, Exception] = {}
        self.more: dict[str, Any] = {}

    async def decide(self, target: str, facts: Mapping[str, Any]) -> None:
        if not facts.get("early"):
            told = {key: facts[key] for key in facts.keys() - {"name", "version"}}
            self.asked.append((target, told))
        if target in self.denied:
            raise self.denied[target]

    def access(self) -> Access:
        return Access(self.lock, self.decide, **self.more)

    def load(
        self, *specifiers: str | tuple[str, dict[str, str]], **options: Any
    ) -> dict[str, Any]:
        """The graph of an import."""
        wanted = [(one, {}) if isinstance(one, str) else one for one in specifiers]

        async def load() -> dict[str, Any]:
            settings = self.settings._replace(code_cache=False)
            packages = Packages(settings, self.packer)
            try:
                return read_graph(
                    await packages.answer(wanted, self.access(), **options)
                )
            finally:
                await packages.close()

        return asyncio.run(load())

    def urls(self, *specifiers: str, **options: Any) -> dict[str, str]:
        """The URLs of some specifiers."""
        roots: dict[str, str] = self.load(*specifiers, **options)["roots"]
        return roots


@pytest.fixture
def settings(registry: PackageRegistry, tmp_path: Path) -> PackageSettings:
    return PackageSettings(
        cache_dir=str(tmp_path / "cache"),
        npmrc=Npmrc({"registry": registry.url, "@jsr:registry": registry.url}),
        retries_max=0,
    )


@pytest.fixture
def loader(settings: PackageSettings, packer: Packer) -> Loader:
    return Loader(settings, packer)

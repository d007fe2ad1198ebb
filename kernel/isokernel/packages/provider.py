"""Answers the calls of contexts for modules: the capability `modules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isokernel.capabilities import Answer, Asked
from isokernel.errors import CapabilityError, PackageLimitError
from isokernel.packages.lock import Lock
from isokernel.packages.progress import Announcer
from isokernel.packages.service import Packages
from isokernel.packages.sources import CallAddresses, CallFiles, address_id
from isokernel.packages.supplies import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isokernel.capabilities import Call, Grant, Provider
    from isokernel.packages.packer import Packer
    from isokernel.packages.resolver import Kind
    from isokernel.packages.settings import PackageSettings
    from isokernel.packages.supplies import Addresses, SourceFiles

__all__ = ["ModuleProvider"]

_ANSWER_BYTES_MAX: Final = 32 << 20
"""Of modules, or of a file, that come at a time: half of what a frame may have."""
_SPECIFIERS_MAX: Final = 1000
_KNOWN_MAX: Final = 100_000


class ModuleProvider:
    """Modules for the contexts of one process; see `isokernel.capabilities.Provider`.

    Its calls are `modules.graph` (what an import loads), `modules.read` (a file of a
    package, as bytes) and `modules.list` (the packages in a context's lock).
    """

    def __init__(
        self,
        settings: Callable[[], PackageSettings],
        packer: Packer | None = None,
        *,
        files: Callable[[], Provider] | None = None,
        network: Callable[[], Provider] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            settings: Read at the first call.
            packer: See `Packages`.
            files: Makes what answers `files.…`, for modules in contexts' folders.
            network: Makes what answers `net.…`, for modules at addresses.
        """
        self._settings = settings
        self._packer = packer
        self._make_files = files
        self._make_network = network
        self._files: Provider | None = None
        self._network: Provider | None = None
        self._packages: Packages | None = None

    @property
    def packages(self) -> Packages:
        """What finds packages, for all contexts."""
        if self._packages is None:
            self._packages = Packages(self._settings(), self._packer)
        return self._packages

    async def call(self, call: Call) -> Answer:
        """Answer a call.

        Raises:
            CapabilityError: A module can't be had, or is denied.
        """
        name = call.name.partition(".")[2]
        if name == "graph":
            return await self._graph(call.arguments, call.grant)
        if name == "read":
            url = _text(call.arguments.get("url"))
            access = self._access(call.grant)
            data = await self.packages.read(url, access)
            if len(data) > _ANSWER_BYTES_MAX:
                message = f"{url} has {len(data)} bytes, more than {_ANSWER_BYTES_MAX}"
                raise PackageLimitError(message)
            return Answer(data=data, is_bounded=True)
        if name == "list":
            return Answer(Lock(call.grant.lock).listed())
        message = f"{call.name}: there is no such call"
        raise CapabilityError(message, code="not_provided")

    async def close(self, context_id: str) -> None:
        """End what is held for a context; packages belong to all."""
        if self._files is not None:
            await self._files.close(context_id)
        if self._network is not None:
            await self._network.close(address_id(context_id))

    async def end(self) -> None:
        """End all that runs."""
        if self._packages is not None:
            await self._packages.close()

    async def _graph(self, arguments: Mapping[str, Any], grant: Grant) -> Answer:
        wanted = arguments.get("specifiers")
        known = arguments.get("known", [])
        if not isinstance(wanted, list) or not isinstance(known, list):
            raise _invalid()
        if len(wanted) > _SPECIFIERS_MAX or len(known) > _KNOWN_MAX:
            raise _invalid()
        specifiers = [_specifier(one) for one in wanted]
        kind: Kind = "require" if arguments.get("kind") == "require" else "import"
        announcer = Announcer(grant.tell)
        access = self._access(grant)._replace(progress=announcer.progress)
        failed = True
        try:
            text, data = await self.packages.answer(
                specifiers,
                access,
                referrer=_text(arguments.get("referrer") or ""),
                kind=kind,
                known=[_text(url) for url in known],
            )
            failed = False
        finally:
            announcer.close(failed=failed)
        size = max(len(text), len(data))
        if size > _ANSWER_BYTES_MAX:
            message = (
                f"the import loads {size} bytes that the context hasn't got yet, and "
                f"{_ANSWER_BYTES_MAX} can come at a time: import a part of it before"
            )
            raise PackageLimitError(message)
        return Answer(text=text, data=data, is_bounded=True)

    def _access(self, grant: Grant) -> Access:
        async def decide(target: str, facts: Mapping[str, Any]) -> None:
            await grant.decide(Asked("modules", target, facts))

        bytes_max = self.packages.settings.graph_bytes_max
        files: SourceFiles | None = None
        if self._make_files is not None:
            self._files = self._files or self._make_files()
            files = CallFiles(self._files, grant, bytes_max)
        addresses: Addresses | None = None
        if self._make_network is not None:
            addresses = CallAddresses(self._started_network, grant, bytes_max)
        limit = grant.limits.bytes_max
        return Access(grant.lock, decide, files, addresses, bytes_max=limit)

    def _started_network(self) -> Provider:
        assert self._make_network is not None  # noqa: S101 - else nobody has this
        self._network = self._network or self._make_network()
        return self._network


def _specifier(given: Any) -> tuple[str, dict[str, str]]:
    if not isinstance(given, dict):
        raise _invalid()
    attributes = given.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise _invalid()
    return _text(given.get("specifier")), {
        _text(key): _text(value) for key, value in attributes.items()
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid()
    return value


def _invalid() -> CapabilityError:
    message = "modules: the arguments aren't those of an import"
    return CapabilityError(message, code="invalid_arguments")

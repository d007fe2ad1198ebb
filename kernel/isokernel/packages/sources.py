"""Modules from a context's files and from addresses, by the calls that code has too.

What code may read and where it may connect is decided there, on the same grant: a
module is no way around it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urldefrag, urljoin, urlsplit

from isokernel.capabilities import Asked, Call, Grant
from isokernel.errors import (
    CapabilityError,
    ModuleMissingError,
    ModuleSpecifierError,
    PackageLimitError,
)
from isokernel.packages.graphs import Source
from isokernel.packages.resolver import file_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isokernel.capabilities import Provider

__all__ = ["CallAddresses", "CallFiles"]

_MISSING: Final = frozenset({"ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP"})
_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX: Final = 5
_OK: Final = 200
_HANDLES: Final = itertools.count(1)
_ACCEPT: Final = "text/javascript, application/json, */*;q=0.5"


class CallFiles:
    """The files of a context; see `service.SourceFiles`."""

    def __init__(self, files: Provider, grant: Grant, bytes_max: int) -> None:
        """Read nothing yet.

        Args:
            files: Answers `files.load` and the calls for the rest of a large file.
            grant: Whose they are.
            bytes_max: Bytes that a module may have.
        """
        self._files = files
        self._grant = grant
        self._bytes_max = bytes_max

    async def read_module(self, path: str) -> Source | bool:
        """Return a file, True for a folder, False for what isn't there."""
        try:
            answer = await self._call("load", path=f"/{path}")
        except CapabilityError as error:
            if error.code == "EISDIR":
                return True
            if error.code in _MISSING:
                return False
            raise
        chunks = [answer.data or b""]
        handle = answer.value["handle"]
        url = file_url(answer.value["path"].lstrip("/"))
        if handle is None:
            return Source(chunks[0], url=url)
        try:
            if answer.value["size"] > self._bytes_max:
                raise _too_large(path, self._bytes_max)
            while chunk := (await self._call("read", handle=handle)).data:
                chunks.append(chunk)
                if sum(map(len, chunks)) > self._bytes_max:
                    raise _too_large(path, self._bytes_max)
        finally:
            await self._call("close", handle=handle)
        return Source(b"".join(chunks), url=url)

    async def _call(self, name: str, **arguments: Any) -> Any:
        return await self._files.call(
            Call(f"files.{name}", arguments, None, self._grant)
        )


class CallAddresses:
    """What https: URLs lead to, for one context; see `service.Addresses`."""

    def __init__(
        self, network: Callable[[], Provider], grant: Grant, bytes_max: int
    ) -> None:
        """Connect to nothing yet.

        Args:
            network: Makes what answers `net.open`, `net.read` and `net.close`, or
                returns it again; asked when it is first needed.
            grant: Who asks. Its code names its requests by numbers of its own; these
                are another context's to the network.
            bytes_max: Bytes that a module may have.
        """
        self._network = network
        self._grant = Grant(
            address_id(grant.context_id), grant.decide, secrets=grant.secrets
        )
        self._bytes_max = bytes_max

    async def get_module(self, url: str) -> Source:
        """Return what a URL leads to; each redirect is decided."""
        target = urldefrag(url).url
        for _ in range(_REDIRECTS_MAX + 1):
            handle = next(_HANDLES)
            status, headers, body = await self._get(target, handle)
            if status not in _REDIRECT:
                break
            target = urljoin(target, headers.get("location", ""))
            if urlsplit(target).scheme != "https":
                why = f"it redirects to {target}, which isn't https:"
                raise ModuleSpecifierError(url, why)
            await self._grant.decide(Asked("modules", target, {"redirected": url}))
        else:
            message = f"{url} redirects more than {_REDIRECTS_MAX} times"
            raise ModuleMissingError(message)
        if status != _OK:
            message = f"{target} answers with status {status}; check the address"
            raise ModuleMissingError(message)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        return Source(body, media_type, target)

    async def fetch(
        self, url: str, headers: list[tuple[str, str]], bytes_max: int
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one GET, as the context could; see `registry.Fetch`."""
        return await self._get(url, next(_HANDLES), headers, bytes_max)

    async def _get(
        self,
        url: str,
        handle: int,
        sent: Sequence[tuple[str, str]] = (("Accept", _ACCEPT),),
        bytes_max: int = 0,
    ) -> tuple[int, dict[str, str], bytes]:
        arguments = {
            "handle": handle,
            "url": url,
            "method": "GET",
            "headers": [list(pair) for pair in sent],
        }
        bytes_max = bytes_max or self._bytes_max
        answer = await self._call("open", arguments)
        head = answer.value
        chunks, size, done = [answer.data or b""], len(answer.data or b""), head["done"]
        try:
            while not done:
                answer = await self._call("read", {"handle": handle})
                chunks.append(answer.data or b"")
                size += len(chunks[-1])
                done = answer.value["done"]
                if size > bytes_max:
                    raise _too_large(url, bytes_max)
        finally:
            if not done:
                await self._call("close", {"handle": handle})
        headers = {name.lower(): value for name, value in head["headers"]}
        return head["status"], headers, b"".join(chunks)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        return await self._network().call(
            Call(f"net.{name}", arguments, None, self._grant)
        )


def address_id(context_id: str) -> str:
    """Return what the network calls the requests for a context's modules."""
    return f"{context_id}/modules"


def _too_large(what: str, bytes_max: int) -> PackageLimitError:
    message = f"{what} has more than {bytes_max} bytes (package_graph_bytes_max)"
    return PackageLimitError(message)

"""`isokernel packages`: what is in the cache of packages, and getting it there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isokernel.errors import IsokernelError, PackageDamagedError, PackageError
from isokernel.packages.archive import export_packages, import_packages
from isokernel.packages.cache import Cache
from isokernel.packages.packs import Pack
from isokernel.packages.service import Packages
from isokernel.packages.settings import package_settings
from isokernel.packages.specifiers import (
    PackageRequest,
    builtin_url,
    parse_bare,
    parse_request,
)
from isokernel.packages.supplies import Access

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from isokernel.packages.progress import Progress
    from isokernel.packages.settings import PackageSettings

__all__ = ["application", "run"]

_WIDTH: Final = 160
_ARCHIVE: Final = ".isopacks"
_SPECIFIER: Final = re.compile(
    r"""(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)(["'])([^"'\n]+)\1"""
)
"""What a script may import; what it doesn't after all does no harm."""

application = typer.Typer(
    help="Fetch packages from npm ahead of time, and look after their cache.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

CacheDir = Annotated[
    Path | None,
    typer.Option(help="The cache's folder; default: ISOKERNEL_PACKAGE_CACHE_DIR."),
]


@application.command("list")
def list_(*, cache_dir: CacheDir = None) -> None:
    """List the packages in the cache, those used last at the end."""
    settings = _settings(cache_dir)
    table = Table("package", "bytes", "used", box=None)
    total = 0
    for cached in Cache(settings.cache_dir, settings.cache_bytes_max).packs():
        total += cached.size
        try:
            pack = Pack(cached.path)
        except (OSError, PackageDamagedError):
            continue  # it is no pack, or goes now
        used = datetime.fromtimestamp(cached.used, timezone.utc)
        name = f"{pack.header.name}@{pack.header.version}"
        table.add_row(name, str(cached.size), f"{used:%Y-%m-%d %H:%M}Z")
        pack.close()
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, markup=False).print(table)
    typer.echo(f"{total} bytes of {settings.cache_bytes_max} in {settings.cache_dir}")


@application.command()
def add(
    packages: Annotated[
        list[str],
        typer.Argument(help=f"Packages (d3@7, jsr:@std/path), or {_ARCHIVE} files."),
    ],
    *,
    cache_dir: CacheDir = None,
) -> None:
    """Fetch packages and all that they depend on, or read an archive of `export`."""
    settings = _settings(cache_dir)
    archives = [Path(name) for name in packages if name.endswith(_ARCHIVE)]
    for file in archives:
        cache = Cache(settings.cache_dir, settings.cache_bytes_max)
        typer.echo(f"{file}: {import_packages(cache, file)} packages")
    requests = [_request(name) for name in packages if not name.endswith(_ARCHIVE)]
    _fetch(settings, requests)


@application.command()
def prefetch(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, help="Notebooks, scripts, or folders of them."),
    ],
    *,
    cache_dir: CacheDir = None,
) -> None:
    """Fetch what notebooks and scripts import, so that they run without a network."""
    requests: dict[PackageRequest, None] = {}
    for file in _scripts(files):
        for specifier in _imports(file):
            try:
                request = _request(specifier)
            except PackageError:
                continue  # a path or an address
            requests[request._replace(subpath=".")] = None
    _fetch(_settings(cache_dir), list(requests))


@application.command()
def gc(
    *,
    bytes_max: Annotated[
        int | None,
        typer.Option(min=0, help="Bytes that may stay; default: the cache's limit."),
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Remove the packages that were used longest ago, until the rest has room."""
    settings = _settings(cache_dir)
    cache = Cache(settings.cache_dir, settings.cache_bytes_max)
    typer.echo(f"removed {cache.collect(bytes_max)} packages")


@application.command()
def export(
    file: Annotated[Path, typer.Argument(help=f"The file to write, NAME{_ARCHIVE}.")],
    packages: Annotated[list[str], typer.Argument(help="The packages, as for `add`.")],
    *,
    cache_dir: CacheDir = None,
) -> None:
    """Write packages, and all that they depend on, to a file that `add` reads.

    It holds code as it is: read only those that you would run.
    """
    if file.suffix != _ARCHIVE:
        message = f"{file} must end with {_ARCHIVE}"
        raise typer.BadParameter(message)
    settings = _settings(cache_dir)
    found = _fetch(settings, [_request(name) for name in packages])
    cache = Cache(settings.cache_dir, settings.cache_bytes_max)
    names = [(package.rpartition("@")[0], each) for package, each in found.items()]
    entries = [(settings.npmrc.registry(name), name, each) for name, each in names]
    count = export_packages(cache, entries, file)
    typer.echo(f"wrote {count} packages to {file}")


def run(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows `isokernel packages` on the command line.

    Returns:
        The exit code.
    """
    try:
        application(args=list(arguments), prog_name="isokernel packages")
    except (IsokernelError, OSError) as error:
        sys.stderr.write(f"isokernel: {error}\n")
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _settings(cache_dir: Path | None) -> PackageSettings:
    settings = package_settings(os.environ)
    if cache_dir is None:
        return settings
    return settings._replace(cache_dir=str(cache_dir))


def _request(specifier: str) -> PackageRequest:
    if specifier.startswith(("npm:", "jsr:")):
        return parse_request(specifier)
    if "@" in specifier[1:]:
        return parse_request(f"npm:{specifier}")
    return parse_bare(specifier)


def _fetch(
    settings: PackageSettings, requests: Sequence[PackageRequest]
) -> dict[str, str]:
    """Fetch packages; print which, and how far it is while it takes time."""
    if not requests:
        return {}
    console = Console(stderr=True)

    async def fetch() -> dict[str, str]:
        packages = Packages(settings)
        try:
            with console.status("Looking for packages") as status:

                async def progress(step: Progress) -> None:
                    status.update(escape(step.text))

                access = Access({}, _allow, progress=progress)
                wanted = [(one.name, one.range) for one in requests]
                return await packages.fetch_all(wanted, access)
        finally:
            await packages.close()

    found = asyncio.run(fetch())
    for package in sorted(found):
        typer.echo(package)
    return found


async def _allow(_target: str, _facts: Mapping[str, Any]) -> None:
    """Allow all: the user asks for it on their own machine."""


def _scripts(files: Sequence[Path]) -> Iterator[Path]:
    endings = {".ipynb", ".js", ".mjs", ".cjs", ".ts", ".mts"}
    for file in files:
        if not file.is_dir():
            yield file
            continue
        for below in sorted(file.rglob("*")):
            inside = "node_modules" not in below.parts
            if inside and below.suffix in endings and below.is_file():
                yield below


def _imports(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix == ".ipynb":
        text = _code_of(text)
    for _, specifier in _SPECIFIER.findall(text):
        if builtin_url(specifier) is None:
            yield specifier


def _code_of(text: str) -> str:
    try:
        cells = json.loads(text)["cells"]
        sources = [cell["source"] for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return "\n".join(
        source if isinstance(source, str) else "".join(map(str, source))
        for source in sources
    )

"""`isokernel heaps`: look at the heaps of a data folder, move them, clean up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import CliApp
from rich.console import Console
from rich.table import Table

from isoserver.errors import ServerError
from isoserver.heaps.records import HeapRecord  # noqa: TC001 - beside one that is
from isoserver.heaps.service import LIST_DEFAULT, LIST_MAX, Heaps
from isoserver.principal import DEFAULT_WORKSPACE
from isoserver.settings.logs import make_log
from isoserver.settings.server import ServerSettings
from isoserver.storage.database import Database, url_of

__all__ = ["application", "run"]

Got = TypeVar("Got")
Ask: TypeAlias = Callable[[Heaps], Coroutine[Any, Any, Got]]
_WIDTH = 160
"""Characters of a line where nobody looks at a terminal."""

application = typer.Typer(
    help="Look at saved heaps, move them, clean up; the server may be running.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[
    Path | None, typer.Option(help="The server's data folder; else ISOKERNEL_DATA_DIR.")
]
Workspace = Annotated[str, typer.Option(help="Whose heaps.")]
Key = Annotated[str, typer.Argument(help="The heap's key.")]


@application.command("list")
def list_(
    *,
    data_dir: DataDir = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tag: Annotated[
        list[str] | None, typer.Option(help="NAME:VALUE that they must have.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=LIST_MAX, help="How many.")
    ] = LIST_DEFAULT,
) -> None:
    """List heaps, newest first."""
    wanted = dict(_pair(text) for text in tag or [])

    async def ask(heaps: Heaps) -> list[HeapRecord]:
        return await heaps.newest(workspace, wanted, limit)

    table = Table("heap", "saved", "bytes", "stored", "session", "tags", box=None)
    for heap in _with_heaps(data_dir, ask):
        tags = " ".join(f"{name}:{value}" for name, value in heap.tags.items())
        table.add_row(
            heap.key,
            _moment(heap.created_at),
            str(heap.size),
            str(heap.compressed_size),
            heap.session or "",
            tags,
        )
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else _WIDTH, markup=False).print(table)


@application.command()
def show(
    key: Key, *, data_dir: DataDir = None, workspace: Workspace = DEFAULT_WORKSPACE
) -> None:
    """Show a heap, and check that it can be restored."""

    async def ask(heaps: Heaps) -> HeapRecord:
        heap = await heaps.get(workspace, key)
        await heaps.load(workspace, key)
        return heap

    heap = _with_heaps(data_dir, ask)
    for name, value in heap._asdict().items():
        text = _moment(value) if name in {"created_at", "last_used"} else value
        typer.echo(f"{name}: {'' if text is None else text}")


@application.command()
def export(
    key: Key,
    file: Annotated[Path, typer.Argument(help="Where it goes.")],
    *,
    data_dir: DataDir = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a heap to a file, which `import` takes elsewhere."""

    async def ask(heaps: Heaps) -> bytes:
        await heaps.load(workspace, key)  # only what is whole leaves
        return await heaps.export_file(workspace, key)

    packed = _with_heaps(data_dir, ask)
    file.write_bytes(packed)
    typer.echo(f"wrote {len(packed)} bytes to {file}")


@application.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="What `export` wrote.")
    ],
    *,
    data_dir: DataDir = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Take in a heap that `export` wrote, once it is checked."""
    packed = file.read_bytes()

    async def ask(heaps: Heaps) -> str:
        return await heaps.import_file(workspace, packed)

    typer.echo(_with_heaps(data_dir, ask))


@application.command()
def gc(*, data_dir: DataDir = None) -> None:
    """Delete what the settings don't keep and nothing needs."""
    found = _with_heaps(data_dir, Heaps.collect)
    typer.echo(
        f"{found.forgotten} heaps forgotten, {found.deleted} files deleted, "
        f"{found.freed_bytes} bytes freed"
    )


def run(arguments: list[str]) -> int:
    """Run the command line; the exit status."""
    try:
        application(arguments, prog_name="isokernel heaps", standalone_mode=True)
    except ServerError as error:
        sys.stderr.write(f"isokernel: {error}\n")
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _with_heaps(data_dir: Path | None, ask: Ask[Got]) -> Got:
    """Have something asked of the heaps of a data folder."""
    try:
        settings = CliApp.run(ServerSettings, cli_args=[])
        if data_dir is not None:
            settings = settings.model_copy(update={"data_dir": data_dir})
    except ValidationError as error:
        raise typer.BadParameter(str(error)) from error
    if settings.data_dir is None:
        message = "name the server's data folder: --data-dir, or ISOKERNEL_DATA_DIR"
        raise typer.BadParameter(message)
    if not settings.data_dir.is_dir():
        message = f"there is no folder {settings.data_dir}"
        raise typer.BadParameter(message)
    return asyncio.run(_asked(settings, settings.data_dir, ask))


async def _asked(settings: ServerSettings, folder: Path, ask: Ask[Got]) -> Got:
    async with _opened(settings, folder) as heaps:
        return await ask(heaps)


@asynccontextmanager
async def _opened(settings: ServerSettings, folder: Path) -> AsyncIterator[Heaps]:
    database = Database(url_of(settings.database_url, folder))
    try:
        await database.start()
        log = make_log(settings.log_level)
        heaps = Heaps(settings, database, folder, log)
        await heaps.start(collect=False)
        yield heaps
    finally:
        await database.close()


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        message = f"{text!r} is not NAME:VALUE"
        raise typer.BadParameter(message)
    return name, value


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="seconds")

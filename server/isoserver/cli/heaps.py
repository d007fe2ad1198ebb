"""`isokernel heaps`: list the heaps of a data folder, move them, clean up."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from isoserver.cli.serve import explain, load
from isoserver.errors import ServerError
from isoserver.files.service import Files
from isoserver.heaps.service import LIST_DEFAULT, LIST_MAX, Heaps
from isoserver.principal import DEFAULT_WORKSPACE
from isoserver.settings.logs import make_log
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from isoserver.heaps.records import HeapRecord
    from isoserver.settings.server import ServerSettings

__all__ = ["application", "run"]

T = TypeVar("T")
_WIDTH: Final = 160
"""Characters in a line when the output isn't a terminal."""

application = typer.Typer(
    help="List, move and clean up saved heaps; the server may be running.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[
    Path | None,
    typer.Option(help="The data folder; default: ISOKERNEL_DATA_DIR."),
]
Workspace = Annotated[str, typer.Option(help="The workspace that owns the heaps.")]
Key = Annotated[str, typer.Argument(help="The heap key.")]


@application.command("list")
def list_(
    *,
    data_dir: DataDir = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="A tag NAME:VALUE that they must have; may be repeated."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=LIST_MAX, help="The most to list.")
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
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    *,
    data_dir: DataDir = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write a heap to a file that `import` can read."""

    async def ask(heaps: Heaps) -> bytes:
        await heaps.load(workspace, key)  # which checks that it is whole
        return await heaps.export_file(workspace, key)

    packed = _with_heaps(data_dir, ask)
    file.write_bytes(packed)
    typer.echo(f"wrote {len(packed)} bytes to {file}")


@application.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="A file that `export` wrote."),
    ],
    *,
    data_dir: DataDir = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Check a heap that `export` wrote, store it, and print its key."""
    packed = file.read_bytes()

    async def ask(heaps: Heaps) -> str:
        return await heaps.import_file(workspace, packed)

    typer.echo(_with_heaps(data_dir, ask))


@application.command()
def gc(*, data_dir: DataDir = None) -> None:
    """Delete heaps that nothing needs, as the settings say."""
    found = _with_heaps(data_dir, Heaps.collect)
    typer.echo(
        f"{found.forgotten} heaps forgotten, {found.deleted} files deleted, "
        f"{found.freed_bytes} bytes freed"
    )


def run(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    try:
        application(arguments, prog_name="isokernel heaps", standalone_mode=True)
    except ServerError as error:
        sys.stderr.write(f"isokernel: {error}\n")
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _with_heaps(
    data_dir: Path | None, ask: Callable[[Heaps], Coroutine[Any, Any, T]]
) -> T:
    """Return what a call of the heaps in a data folder returns."""
    try:
        settings = load([] if data_dir is None else [f"--data-dir={data_dir}"])
    except (OSError, ValueError) as error:
        raise typer.BadParameter("; ".join(explain(error))) from error
    folder = settings.data_dir
    if folder is None:
        message = "set the server's data folder by --data-dir or ISOKERNEL_DATA_DIR"
        raise typer.BadParameter(message)
    if not folder.is_dir():
        message = f"there is no folder {folder}"
        raise typer.BadParameter(message)
    return asyncio.run(_ask(settings, folder, ask))


async def _ask(
    settings: ServerSettings,
    folder: Path,
    ask: Callable[[Heaps], Coroutine[Any, Any, T]],
) -> T:
    database = Database(url_of(settings.database_url, folder))
    try:
        await database.start()
        files = Files(settings, folder / "files")
        log = make_log(settings.log_level)
        heaps = Heaps(settings, database, folder, files, log)
        try:
            await heaps.start(collect=False)
            return await ask(heaps)
        finally:
            await heaps.close()
    finally:
        await database.close()


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        message = f"{text!r} must be NAME:VALUE"
        raise typer.BadParameter(message)
    return name, value


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="seconds")

"""The commands of `isokernel` that typer parses, and the help that lists all of them.

A command imports what it needs when it is called, so that none waits for the others.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from isokernel._version import __version__

__all__ = ["application"]

_JUPYTER: Final = "Jupyter and scripts"
_SERVER: Final = "Server"
_INSTALLATION: Final = "Installation"

application = typer.Typer(
    help="JavaScript and TypeScript in Jupyter, over HTTP and over MCP, on V8.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_forwarded = application.command(
    rich_help_panel=_SERVER,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
"""A command whose arguments, `--help` included, are parsed elsewhere."""


def _print_version(*, asked: bool) -> None:
    if asked:
        from isokernel.v8.library import V8_VERSION  # noqa: PLC0415 - loads ctypes

        typer.echo(f"isokernel {__version__}, V8 {V8_VERSION}")
        raise typer.Exit


@application.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _print_version(asked=asked),
            is_eager=True,
            help="Print the versions of isokernel and of V8.",
        ),
    ] = False,
) -> None:
    del version


@application.command(rich_help_panel=_JUPYTER)
def install(
    *,
    user: Annotated[
        bool, typer.Option("--user", help="Into your own Jupyter folder.")
    ] = False,
    sys_prefix: Annotated[
        bool, typer.Option("--sys-prefix", help="Into this Python environment.")
    ] = False,
    prefix: Annotated[
        Path | None, typer.Option(help="Into the environment in this folder.")
    ] = None,
) -> None:
    """Write the kernelspecs, so that Jupyter finds the kernels."""
    from isokernel.jupyter.install import install as write  # noqa: PLC0415 - 100 ms

    if user + sys_prefix + (prefix is not None) > 1:
        message = "--user, --sys-prefix and --prefix exclude each other"
        raise typer.BadParameter(message)
    for folder in write(user=user, prefix=Path(sys.prefix) if sys_prefix else prefix):
        typer.echo(f"wrote {folder}")


@application.command(rich_help_panel=_JUPYTER)
def run(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .js, .ts or .ipynb.")
    ],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Where to write a notebook with its outputs.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, help="Seconds for each cell of a notebook.")
    ] = None,
) -> None:
    """Run a script or a notebook once."""
    from isokernel.commands import script  # noqa: PLC0415 - loads V8

    ending = file.suffix.lower()
    if ending == ".ipynb":
        succeeded = script.run_notebook(file, output, timeout)
    elif ending in script.LANGUAGES:
        succeeded = script.run_script(file, script.LANGUAGES[ending])
    else:
        endings = ", ".join([*script.LANGUAGES, ".ipynb"])
        message = f"{file} is none of {endings}"
        raise typer.BadParameter(message)
    if not succeeded:
        raise typer.Exit(1)


@_forwarded
def serve(context: typer.Context) -> None:
    """Serve contexts over HTTP; `isokernel serve --help` lists the settings."""
    _forward("serve", context)


@_forwarded
def mcp(context: typer.Context) -> None:
    """Serve one agent over MCP on stdin and stdout; the settings are those of serve."""
    _forward("mcp", context)


@_forwarded
def client(context: typer.Context) -> None:
    """Use a server; `isokernel client --help` lists the commands."""
    _forward("client", context)


@_forwarded
def heaps(context: typer.Context) -> None:
    """List, move and clean up heaps; `isokernel heaps --help` lists the commands."""
    _forward("heaps", context)


def _forward(name: str, context: typer.Context) -> None:
    from isoserver.cli.main import FORWARDED  # noqa: PLC0415 - it imports this module

    raise typer.Exit(FORWARDED[name](context.args))


@application.command(rich_help_panel=_INSTALLATION)
def doctor() -> None:
    """Check engine and installation, and say how to fix what is wrong."""
    from isokernel.commands.doctor import examine  # noqa: PLC0415 - loads V8

    wrong = 0
    for finding in examine():
        wrong += not finding.ok
        typer.echo(f"{'ok   ' if finding.ok else 'WRONG'} {finding.what}: ", nl=False)
        typer.echo(finding.detail)
        if finding.remedy:
            typer.echo(f"      to fix it: {finding.remedy}")
    typer.echo("all is well" if not wrong else f"{wrong} of the checks failed")
    if wrong:
        raise typer.Exit(1)


@application.command(rich_help_panel=_INSTALLATION)
def version() -> None:
    """Print the versions of isokernel and of V8."""
    _print_version(asked=True)

"""The commands of `isokernel` that typer parses, and the help that lists all of them.

A command imports what it needs when it is called, so that none waits for the others.
"""

from __future__ import annotations

import os
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


Modules = Annotated[
    str | None,
    typer.Option(help="What code may import: on, off, or packages and URLs."),
]
Net = Annotated[
    str | None,
    typer.Option(help="Where code may send requests: on, off, or hosts."),
]
FilesOption = Annotated[
    str | None,
    typer.Option(help="What code may do with files: on, read, off, or paths."),
]
Env = Annotated[
    str | None,
    typer.Option(help="Variables that code may see: on, off, or names."),
]


def _variables(**chosen: str | None) -> dict[str, str]:
    """Return the variables of the environment for what is chosen.

    Raises:
        typer.BadParameter: It can't be understood.
    """
    from isokernel.capabilities import read_policy  # noqa: PLC0415 - for this alone
    from isokernel.errors import SettingsError  # noqa: PLC0415

    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        read_policy(given)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error
    return {f"ISOKERNEL_{name.upper()}": value for name, value in given.items()}


@application.command(rich_help_panel=_JUPYTER)
def install(  # noqa: PLR0913 - an option each
    *,
    user: Annotated[
        bool, typer.Option("--user", help="Install into your own Jupyter folder.")
    ] = False,
    sys_prefix: Annotated[
        bool, typer.Option("--sys-prefix", help="Install into this Python environment.")
    ] = False,
    prefix: Annotated[
        Path | None, typer.Option(help="Install into the environment in this folder.")
    ] = None,
    modules: Modules = None,
    net: Net = None,
    files: FilesOption = None,
    env: Env = None,
) -> None:
    """Write the kernelspecs, so that Jupyter finds the kernels."""
    from isokernel.jupyter.install import install as write  # noqa: PLC0415 - 100 ms

    if user + sys_prefix + (prefix is not None) > 1:
        message = "use only one of --user, --sys-prefix and --prefix"
        raise typer.BadParameter(message)
    variables = _variables(modules=modules, net=net, files=files, env=env)
    place = Path(sys.prefix) if sys_prefix else prefix
    for folder in write(user=user, prefix=place, variables=variables):
        typer.echo(f"wrote {folder}")


@application.command(rich_help_panel=_JUPYTER)
def run(  # noqa: PLR0913 - an option each
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="A .js, .ts or .ipynb file."),
    ],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Where to write the notebook with its outputs.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, help="Seconds for each cell of a notebook.")
    ] = None,
    modules: Modules = None,
    net: Net = None,
    files: FilesOption = None,
    env: Env = None,
) -> None:
    """Run a script or a notebook once, with what a notebook may do."""
    os.environ.update(_variables(modules=modules, net=net, files=files, env=env))
    from isokernel.commands import script  # noqa: PLC0415 - loads V8

    ending = file.suffix.lower()
    if ending == ".ipynb":
        succeeded = script.run_notebook(file, output, timeout)
    elif ending in script.LANGUAGES:
        succeeded = script.run_script(file, script.LANGUAGES[ending])
    else:
        endings = ", ".join([*script.LANGUAGES, ".ipynb"])
        message = f"{file} must end with one of {endings}"
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
def cluster(context: typer.Context) -> None:
    """Servers on one database, also by Ray; `isokernel cluster --help` tells how."""
    _forward("cluster", context)


@_forwarded
def lab(context: typer.Context) -> None:
    """Start JupyterLab on a server's contexts; `isokernel lab --help` tells how."""
    _forward("lab", context)


@_forwarded
def heaps(context: typer.Context) -> None:
    """List, move and clean up heaps; `isokernel heaps --help` lists the commands."""
    _forward("heaps", context)


@_forwarded
def packages(context: typer.Context) -> None:
    """Fetch packages ahead of time; `isokernel packages --help` lists the commands."""
    _forward("packages", context)


def _forward(name: str, context: typer.Context) -> None:
    from isoserver.cli.main import FORWARDED  # noqa: PLC0415 - it imports this module

    raise typer.Exit(FORWARDED[name](context.args))


@application.command(rich_help_panel=_INSTALLATION)
def doctor() -> None:
    """Check the engine and the installation, and say how to fix problems."""
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

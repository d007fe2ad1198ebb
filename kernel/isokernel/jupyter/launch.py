"""From a command line to a running kernel.

Imports are in the order in which they are needed, and what the first reply can do
without isn't imported at all: most of a kernel's start is Python reading modules. V8 is
loaded in a thread beside those that need no library.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import IsokernelError
from isokernel.jupyter.process import (
    INHERITED,
    Lifecycle,
    ParentProcess,
    log_warning,
)
from isokernel.settings import LANGUAGES
from isokernel.v8.library import preload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isokernel.capabilities import Provider, Providers
    from isokernel.context import Context
    from isokernel.context.calls import CallNow
    from isokernel.context.events import Event
    from isokernel.jupyter.channels import UserInput
    from isokernel.jupyter.exits import KernelExits
    from isokernel.settings import Language
    from isokernel.v8.snapshot import Snapshot

__all__ = ["launch"]


def _modules() -> Provider:
    from isokernel.packages.provider import (  # noqa: PLC0415 - at the first import
        ModuleProvider,
    )
    from isokernel.packages.settings import package_settings  # noqa: PLC0415

    return ModuleProvider(
        lambda: package_settings(os.environ), files=_files, network=_network
    )


@cache  # one for what code asks for and for modules: the limits are of both
def _network() -> Provider:
    from isokernel.jupyter.settings import network_settings  # noqa: PLC0415
    from isokernel.network.provider import Network  # noqa: PLC0415 - 30 ms

    return Network(network_settings())


@cache
def _files() -> Provider:
    from isokernel.files.provider import FileCalls  # noqa: PLC0415 - few cells need it

    return FileCalls()


PROVIDERS: Final[Providers] = {"modules": _modules, "net": _network, "files": _files}
"""What a kernel holds, by the first part of the calls' names; see `Providers`."""

_USAGE = "usage: isokernel -f CONNECTION_FILE [--language javascript|typescript]"


class _Options(NamedTuple):
    """The command line.

    Attributes:
        connection_file: Where the kernel is to be reached.
        language: Of its cells.
        inherited: What the provisioner gave it: the sockets of all channels, listening
            there, and a pipe that is to be closed when the kernel can answer.
    """

    connection_file: str
    language: Language
    inherited: list[int]


def launch(
    arguments: Sequence[str],
    *,
    base: Context | None = None,
    manager: int | None = None,
    providers: Providers = PROVIDERS,
) -> int:
    """Run a kernel until it is told to stop.

    Args:
        arguments: The command line without the program's name.
        base: A blank context that was forked with this process; None makes one.
        manager: See `ParentProcess`.
        providers: What code can ask for beyond its context.

    Returns:
        The exit code of the process.
    """
    # What a start makes, it keeps: looking for garbage meanwhile costs 4 ms.
    gc.disable()
    lifecycle = Lifecycle()
    _catch_signals(lifecycle)
    options = _options(arguments)
    if options is None:
        log_warning(_USAGE)
        return 2
    try:
        _serve(options, lifecycle, base, manager, providers)
    except IsokernelError as error:
        log_warning(str(error))
        return 1
    return 0


def _serve(
    options: _Options,
    lifecycle: Lifecycle,
    base: Context | None,
    manager: int | None,
    providers: Providers,
) -> None:
    from isokernel.jupyter.channels import (  # noqa: PLC0415 - see above
        CHANNELS,
        Channels,
        Connection,
    )

    if base is None:
        # The linker loads one library at a time, and V8's for 20 ms: what imports one
        # meanwhile waits. So those that are imported below are there before.
        import array  # noqa: F401, PLC0415
        import datetime as dt  # noqa: F401, PLC0415
        import select  # noqa: F401, PLC0415

        preload()
    channels = Channels(
        Connection.read(options.connection_file),
        dict(zip(CHANNELS, options.inherited, strict=False)),
    )
    # The rest is imported while front ends connect to the sockets.
    from isokernel.context import Context  # noqa: PLC0415
    from isokernel.jupyter.kernel import Kernel  # noqa: PLC0415
    from isokernel.jupyter.settings import (  # noqa: PLC0415
        context_settings,
        kernel_settings,
    )
    from isokernel.v8.library import V8_VERSION  # noqa: PLC0415

    settings = context_settings(options.language)

    def make_context(
        sink: Callable[[Event], None],
        user_input: UserInput,
        exits: KernelExits,
        call_now: CallNow,
        heap: Snapshot | None,
    ) -> Context:
        if base is None or heap is not None:
            return Context(
                settings,
                sink,
                read_input=user_input,
                on_fatal=exits.fatal,
                on_stuck=exits.stuck,
                call_now=call_now,
                snapshot=heap,
            )
        base.after_fork(
            settings,
            sink,
            read_input=user_input,
            on_fatal=exits.fatal,
            on_stuck=exits.stuck,
            call_now=call_now,
            origin="blank",
        )
        return base

    kernel = Kernel(
        channels,
        kernel_settings(options.language),
        lifecycle,
        make_context,
        V8_VERSION,
        ParentProcess(manager),
        providers,
    )
    gc.freeze()
    gc.enable()
    for started in options.inherited[len(CHANNELS) :]:
        os.close(started)
    kernel.run()


def _catch_signals(lifecycle: Lifecycle) -> None:
    """Route signals to the control thread.

    Python's own handlers run on the main thread between two bytecodes, so not while
    V8 runs; the descriptor is written by the C handler at once. Must be called on the
    main thread.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(lifecycle.control_wakeup.writer, warn_on_full_buffer=False)


def _options(arguments: Sequence[str]) -> _Options | None:
    """Read the command line; argparse would cost 6 ms."""
    values = {"-f": "", "--language": "javascript", INHERITED: ""}
    rest = iter(arguments)
    for name in rest:
        # What else is there is jupyter_client's: `jupyter run` adds its files' names.
        if name in values:
            values[name] = next(rest, "")
    language = LANGUAGES.get(values["--language"])
    if not values["-f"] or language is None:
        return None
    inherited = [int(each) for each in values[INHERITED].split(",") if each.isdigit()]
    for each in inherited:
        os.set_inheritable(each, False)  # noqa: FBT003 - takes it so
    return _Options(values["-f"], language, inherited)


def main() -> None:
    """Run a kernel with this process's command line. The entry of kernel.json."""
    sys.exit(launch(sys.argv[1:]))

"""Functions called in a process that is confined as a context's is."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import warnings
from typing import TYPE_CHECKING, Any

from isokernel.sandbox import SandboxSettings, confine

if TYPE_CHECKING:
    from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)


def confined(
    attempt: Callable[[], Any],
    settings: SandboxSettings | None = None,
    memory_max: int | None = None,
    user: int | None = None,
) -> Any:
    """What a function gives in a confined process; the error's number if it fails.

    Args:
        attempt: The function.
        settings: What confines the process; all there is, if None.
        memory_max: As of `confine`.
        user: The user that the process has before that, if this one is root.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            if user is not None and os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            try:
                confine(settings or SandboxSettings(), memory_max)
                answer = {"value": attempt()}
            except OSError as error:
                answer = {"errno": error.errno}
            except BaseException as error:  # noqa: BLE001 -- told to the parent
                answer = {"raised": f"{type(error).__name__}: {error}"}
            os.write(writer, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:  # noqa: PTH123 -- a descriptor
        said = file.read()
    os.waitpid(pid, 0)
    answer = json.loads(said)
    assert "raised" not in answer, answer
    return answer["value"] if "value" in answer else errno.errorcode[answer["errno"]]


def libc(name: str, *arguments: Any) -> Callable[[], int]:
    """Call a function of the C library, past whatever Python may think of it."""

    def call() -> int:
        result: int = getattr(LIBC, name)(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), name)
        return result

    return call

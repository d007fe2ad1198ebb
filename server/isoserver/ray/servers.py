"""An actor that has one server: a process of its own, which ends with the actor.

Ray's processes have threads and signal handlers of their own, so the server isn't in
one of them. If it ends by itself, so does the actor, and Ray starts both again.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import ray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NodeServer", "ServerStartError"]

_PROGRAM: Final = """
import sys
from isokernel.sandbox.syscalls import end_with_parent
end_with_parent(int(sys.argv.pop(1)))
from isoserver.cli.main import main
sys.argv[0] = "isokernel"
main()
"""
_START_SECONDS: Final = 300.0
_STOP_SECONDS: Final = 120.0
"""More than a server takes to save its contexts, by its own deadlines."""
_LISTENING: Final = re.compile(r"isokernel is listening on (http://\S+)\n")


class ServerStartError(RuntimeError):
    """The server of a node didn't start; what it said is in the actor's log."""


class NodeServer:
    """The server of the node that the actor is on."""

    def __init__(self, flags: Sequence[str], variables: Mapping[str, str]) -> None:
        """Start it, and wait until it answers.

        Args:
            flags: The flags of `isokernel serve`.
            variables: Settings as variables, secrets among them: flags are seen by
                every user of the machine.

        Raises:
            ServerStartError: It didn't start.
        """
        arguments = ["serve", *flags]
        if "ISOKERNEL_HOST" not in variables and not _has(flags, "--host"):
            arguments += ["--host", ray.util.get_node_ip_address()]
        if "ISOKERNEL_CLUSTER" not in variables and not _has(flags, "--cluster"):
            arguments.append("--cluster")
        self._stopping = False
        self._process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-c", _PROGRAM, str(os.getpid()), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        timer = threading.Timer(_START_SECONDS, self._process.kill)
        timer.start()
        try:
            self._url = self._listening()
        except BaseException:
            self._process.kill()
            raise
        finally:
            timer.cancel()
        threading.Thread(target=self._watch, daemon=True).start()

    def _listening(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 -- for type checkers
        found = _LISTENING.fullmatch(self._process.stdout.readline())
        if found is None:
            status = self._process.wait()
            message = f"the server has ended with status {status}; see the actor's log"
            raise ServerStartError(message)
        parts = urlsplit(found[1])
        # It listens before it has started, and answers when it has.
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=_START_SECONDS
        )
        try:
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            connection.getresponse().read()
        except OSError as error:
            message = f"the server doesn't answer: {error}"
            raise ServerStartError(message) from error
        finally:
            connection.close()
        return found[1]

    def _watch(self) -> None:
        """End the actor if the server ends by itself: Ray then starts both again."""
        self._process.wait()
        if not self._stopping:
            os._exit(1)

    def url(self) -> str:
        """Return where it listens."""
        return self._url

    def pid(self) -> int:
        """Return its process's id."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it, and end; its contexts are saved, and go on at other servers.

        Whoever calls this is told that the actor has ended. It does by itself, so that
        none without a server is left where the caller is lost meanwhile.
        """
        self._stopping = True
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        ray.actor.exit_actor()


def _has(flags: Sequence[str], name: str) -> bool:
    return any(flag == name or flag.startswith(f"{name}=") for flag in flags)

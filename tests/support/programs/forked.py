"""Runs a command as the starter of the tests forks it, for clients that start it.

python -S -I forked.py NAME COMMAND    NAME: the starter's address

It takes 20 ms of processor time where importing the program takes a second and more.
The forked process has the streams, variables and folder of this one, and both end.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys


def main() -> None:
    """Have it forked, and wait for its end."""
    name, *command = sys.argv[1:]
    request = {
        "command": command,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 -- pathlib is 10 ms
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as starter:
        starter.connect(f"\0{name}")
        socket.send_fds(starter, [json.dumps(request).encode()], [1, 2, 0])
        pid = int(starter.recv(32))
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([ended], [], [])


if __name__ == "__main__":
    main()

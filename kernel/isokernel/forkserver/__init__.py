"""The fork server: a process that has everything loaded, and forks contexts.

    client      `ForkServer`, which a server uses to start contexts
    ends        how what it forked has ended, also after its own end
    process     the fork server's own loop
    births      what happens in a process that was just forked
    protocol    what the two say to each other

    server ── requests, exits ── fork server ── fork ── context's process
       └──────────── work, control ─────────────────────────┘

The fork server runs no user code and has no threads. It lives as long as its server
keeps the socket open. When it dies, the contexts go on: they hang on their own sockets.
"""

from __future__ import annotations

from isokernel.forkserver.client import ForkServer, Spawned
from isokernel.forkserver.ends import Exited

__all__ = ["Exited", "ForkServer", "Spawned"]

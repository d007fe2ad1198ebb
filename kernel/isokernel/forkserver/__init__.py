"""The fork server: a process that has everything loaded, and forks contexts.

    client        `ForkServer`, which a server uses to start contexts
    exits         how what it forked has exited, also after its own end
    process       the fork server's own loop, for everything that can be forked
    contexts      what is loaded for contexts and kernels, and how a fork becomes one
    protocol      what the two say to each other
    provisioner   gets Jupyter its kernels by a fork

    server ── requests, exits ── fork server ── fork ── context's process
       └──────────── work, control ─────────────────────────┘

The fork server runs no user code and has no threads. It lives as long as its server
keeps the socket open. When it dies, the contexts go on: they hang on their own sockets.
"""

from __future__ import annotations

from isokernel.forkserver.client import ForkServer, MemoryFile, Spawned
from isokernel.forkserver.exits import Exited

__all__ = ["Exited", "ForkServer", "MemoryFile", "Spawned"]

"""What can go wrong for the client, and the exit status that tells of it.

    ClientError             something else: 3
    ├── RefusedError        the server's answer is an error: 3
    └── UnreachableError    there is no answer: 4

1 says that the code failed, 2 that the command line can't be understood.
"""

from __future__ import annotations

__all__ = ["ClientError", "RefusedError", "UnreachableError"]


class ClientError(Exception):
    """Root of all errors of the client.

    Attributes:
        exit_status: What the program ends with.
    """

    exit_status = 3


class RefusedError(ClientError):
    """The server answered with an error.

    Attributes:
        status: The status code.
    """

    def __init__(self, status: int, text: str) -> None:
        """Keep what it said."""
        self.status = status
        super().__init__(f"{text} (HTTP {status})")


class UnreachableError(ClientError):
    """There is no answer of a server."""

    exit_status = 4

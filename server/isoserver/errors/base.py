"""The root, and what is about the server as a whole."""

from __future__ import annotations

__all__ = [
    "DatabaseError",
    "FolderError",
    "LanguageError",
    "LimitError",
    "ServerError",
    "StoppingError",
    "TakenError",
]


class ServerError(Exception):
    """Root of all errors of the server."""


class LimitError(ServerError):
    """A bound of the server is reached.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
    """

    retry_after = 1


class DatabaseError(ServerError):
    """The database can't be opened or used."""


class FolderError(ServerError):
    """A folder of the server can't be made or used."""


class LanguageError(ServerError):
    """A language that the settings name can't be had."""


class TakenError(ServerError):
    """Another server uses the data folder or the database; ours doesn't start."""

    def __init__(self, what: str, process: str = "") -> None:
        """Name what is taken, and the process that has it, where that is known."""
        other = f"another isokernel server{process and f' (process {process})'}"
        super().__init__(f"{what} is used by {other}, which must end first")


class StoppingError(ServerError):
    """The server is about to end and takes no new work."""

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("the server is stopping")

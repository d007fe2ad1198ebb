"""The root, and what is about the server as a whole."""

from __future__ import annotations

__all__ = [
    "DatabaseError",
    "FolderError",
    "LanguageError",
    "LimitError",
    "ServerError",
    "StoppingError",
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


class StoppingError(ServerError):
    """The server is about to end and takes no new work."""

    def __init__(self) -> None:
        """State what happens."""
        super().__init__("the server is stopping")

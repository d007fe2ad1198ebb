"""What the server answers about contexts, files, heaps and runs.

The names are those of the API. Fields that a newer server adds are ignored.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads the annotations
from typing import Any, Literal

import msgspec

from isokernel.client.errors import ExecutionError
from isokernel.client.executions import Failure

__all__ = [
    "AddressInfo",
    "Completions",
    "ContextInfo",
    "ContextPackages",
    "ContextState",
    "FileInfo",
    "FileUsage",
    "Folder",
    "HeapInfo",
    "Inspection",
    "LanguageInfo",
    "Languages",
    "OutputPage",
    "PackageInfo",
    "Run",
    "RunStatus",
    "RunSummary",
    "SessionEntry",
]

ContextState = Literal["starting", "hibernated", "idle", "busy", "dead"]
RunStatus = Literal["running", "completed", "failed", "timed_out", "cancelled"]


class ContextInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How a context stands.

    Attributes:
        id: Its id.
        language_name: What code is in unless a call says otherwise.
        state: What it is at; `hibernated` is saved, without a process until it is used.
        cwd: Its working folder.
        created_at: When it was made.
        last_used: When it was used last.
        execution_count: How many cells have run.
        waiting: How many wait for their turn.
        reason: Why it is dead, or what of it was lost.
        heap: Its last checkpoint, or the heap that it began from.
        memory: Bytes by kind, where known.
    """

    id: str
    language_name: str
    state: ContextState
    cwd: str
    created_at: datetime
    last_used: datetime
    execution_count: int
    waiting: int = 0
    reason: str = ""
    heap: str | None = None
    memory: dict[str, int] = {}


class Completions(msgspec.Struct, frozen=True, kw_only=True):
    """What could stand at the cursor.

    Attributes:
        matches: The texts.
        cursor_start: Where the text that they replace begins.
        cursor_end: Where it ends.
        metadata: More about each, where known.
    """

    matches: list[str]
    cursor_start: int
    cursor_end: int
    metadata: dict[str, Any] = {}


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a name.

    Attributes:
        found: Whether anything is.
        data: What, by MIME type.
    """

    found: bool
    data: dict[str, Any] = {}


class PackageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A package that a context has loaded.

    Attributes:
        name: Its name.
        version: Its version.
        integrity: The SHA-512 of its tarball, in npm's form.
        dependent: The package that brought it; None if it was the code itself.
        ranges: By which it was asked for.
    """

    name: str
    version: str
    integrity: str
    dependent: str | None = None
    ranges: list[str] = []


class AddressInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A module at an address that a context has loaded.

    Attributes:
        url: The address.
        integrity: Its SHA-512.
    """

    url: str
    integrity: str


class ContextPackages(msgspec.Struct, frozen=True, kw_only=True):
    """The lock of a context: what it has loaded, in order.

    Attributes:
        packages: From registries.
        addresses: From addresses.
    """

    packages: list[PackageInfo]
    addresses: list[AddressInfo] = []


class LanguageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A language of the server.

    Attributes:
        name: Its name.
        aliases: Other names for it.
        engine: What runs it: V8, or a kernel of its own.
        can_fork: Whether its contexts can be saved and forked.
    """

    name: str
    aliases: list[str]
    engine: str
    can_fork: bool


class Languages(msgspec.Struct, frozen=True, kw_only=True):
    """The languages of the server.

    Attributes:
        default: That of requests that name none.
        items: All of them.
    """

    default: str
    items: list[LanguageInfo]


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of a context.

    Attributes:
        path: Its path in the context's folder.
        kind: What it is.
        size: Its bytes; 0 for folders.
        modified_at: When it was changed last.
        etag: Names its state; another one after each change.
    """

    path: str
    kind: Literal["file", "folder", "link", "other"]
    size: int
    modified_at: datetime
    etag: str


class FileUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a context's folder holds, and may hold.

    Attributes:
        bytes: Bytes of all files.
        bytes_max: How many there may be; None for no limit.
        files: Files and folders.
        files_max: How many there may be; None for no limit.
    """

    bytes: int
    bytes_max: int | None
    files: int
    files_max: int | None


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what is in a folder.

    Attributes:
        files: In the order of their names.
        usage: Of the context's whole folder.
        next_offset: Where the next page begins; None on the last one.
    """

    files: list[FileInfo]
    usage: FileUsage
    next_offset: int | None = None


class HeapInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A saved context.

    Attributes:
        heap: Its key.
        tags: What it can be found by.
        size: Its bytes.
        compressed_size: Bytes of its file.
        created_at: When it was saved.
        last_used: When it was used last, to the minute.
        input_heap: The heap that its context had gone on from.
        session: The session whose state it is.
        execution_id: The run that yielded it.
        engine: What wrote it, which alone can restore it.
        language: Its language.
        execution_count: Number of the last execution in it.
    """

    heap: str
    tags: dict[str, str]
    size: int
    compressed_size: int
    created_at: datetime
    last_used: datetime
    input_heap: str | None = None
    session: str | None = None
    execution_id: str | None = None
    engine: str
    language: str
    execution_count: int


class SessionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a session.

    Attributes:
        index: Its number, from 0.
        input_heap: The heap before it.
        output_heap: The heap after it.
        code: What was run.
        timestamp: When.
    """

    index: int
    output_heap: str
    code: str
    timestamp: datetime
    input_heap: str | None = None


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run, in short.

    Attributes:
        execution_id: Its id.
        status: How it stands; all but `running` are for ever.
        started_at: When it began; while it waits, when it was submitted.
        completed_at: When it ended.
    """

    execution_id: str
    status: RunStatus
    started_at: datetime
    completed_at: datetime | None = None


class Run(RunSummary, frozen=True, kw_only=True):
    """A run.

    Attributes:
        result: The value of the code as JSON text, when it completed.
        result_text: The value as text, when JSON doesn't hold all of it.
        result_note: What JSON doesn't hold of it, and what was cut.
        heap: The key of the heap that it yielded.
        heap_error: Why it yielded none, though it completed.
        error: What went wrong.
    """

    result: str | None = None
    result_text: str | None = None
    result_note: str | None = None
    heap: str | None = None
    heap_error: str | None = None
    error: str | None = None

    @property
    def value(self) -> Any:
        """The value as JSON has it; None if there is none."""
        return None if self.result is None else msgspec.json.decode(self.result)

    def raise_for_error(self) -> Run:
        """Raise if the run has ended without completing; else return it.

        Raises:
            ExecutionError: It failed, timed out or was cancelled.
        """
        if self.status not in {"completed", "running"}:
            text = self.error or self.status
            first = text.partition("\n")[0]
            name, colon, message = first.partition(": ")
            if not colon or " " in name:
                name, message = self.status, first
            failure = Failure(name=name, message=message, traceback=f"{text}\n")
            raise ExecutionError(failure)
        return self


class OutputPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what a run has printed.

    Attributes:
        execution_id: The run.
        data: The text; a page of lines has no newline at its end.
        start_line: The first line, from 1; 0 if there is none.
        end_line: The last line, inclusive.
        next_line_offset: Where the next page of lines begins.
        total_lines: Lines by now.
        start_byte: The first byte, from 0.
        end_byte: After the last byte.
        next_byte_offset: Where the next page of bytes begins.
        total_bytes: Bytes by now.
        has_more: Whether there is more by now.
        status: How the run stands.
    """

    execution_id: str
    data: str
    start_line: int
    end_line: int
    next_line_offset: int
    total_lines: int
    start_byte: int
    end_byte: int
    next_byte_offset: int
    total_bytes: int
    has_more: bool
    status: RunStatus

"""Everything that isokernel itself can raise.

    IsokernelError
    ├── EngineError                     V8 or the binding to it
    │   ├── EngineNotFoundError     (ImportError) V8's library isn't installed
    │   ├── EngineCheckError        V8's library isn't the expected one
    │   ├── IsolateClosedError      the isolate is gone
    │   ├── IsolateThreadError      an isolate belongs to one thread
    │   ├── ScriptError             one of our scripts failed inside V8
    │   ├── TerminatedError         JavaScript was stopped from outside
    │   └── SnapshotError
    │       ├── SnapshotFailedError     V8 could not write this heap
    │       └── SnapshotFormatError     (ValueError) not a heap this engine can read
    │           └── SnapshotEngineError     another engine wrote it
    ├── TranspilerError                 the TypeScript compiler itself failed
    ├── TypeCheckerError                types can't be checked
    ├── ContextError
    │   ├── ContextBusyError        one execution at a time
    │   └── ContextClosedError
    ├── InputError                      prompt() and similar
    │   ├── InputUnavailableError   no one can be asked
    │   └── InputInterruptedError   the user interrupted instead of answering
    ├── CapabilityError                 what code asked for beyond its context
    │   ├── CapabilityDeniedError   no policy allows it
    │   ├── PackageError            modules or packages can't be had
    │   │   ├── ModuleSpecifierError    (ValueError) an import that names nothing
    │   │   ├── ModuleMissingError      (LookupError) nothing is there
    │   │   ├── PackageExportError      (LookupError) the package doesn't export it
    │   │   ├── RegistryError           the registry can't be reached, or is of no use
    │   │   ├── PackageOfflineError     not in the cache, and nothing may be fetched
    │   │   ├── PackageDamagedError     it isn't what it should be
    │   │   ├── PackageLimitError       it is larger than the settings allow
    │   │   └── PackageCacheError       the cache's folder can't be used
    │   └── CallInterruptedError    JavaScript was to stop while it waited
    ├── HistoryError                    the history file can't be used
    ├── HeapFileError                   a saved heap isn't there, or can't be used
    ├── FileError                       a path in a context's folder can't be used
    │   └── FileLimitError          a limit of the folder is reached
    ├── ConnectionFileError             (ValueError) the connection file is unusable
    ├── MessageError                    (ValueError) the message can't be served
    │   └── SignatureError          it isn't signed with our key, or is a repeat
    ├── FrameError                      (ValueError) not a frame, or too large
    ├── ForkServerError                 the fork server can't be started, or refused
    ├── ContainerError                  a container can't be made
    ├── SettingsError                   (ValueError) a setting's value is invalid
    └── InstallationError               kernelspecs couldn't be written or found

A failure of the user's JavaScript is not here. It is data
(`isokernel.context.events.ErrorInfo`), because to us it is an ordinary answer.
"""

from __future__ import annotations

import errno
import os
from typing import Any


class IsokernelError(Exception):
    """Root of all errors of isokernel."""


class EngineError(IsokernelError):
    """V8 or the binding to it failed."""


class EngineNotFoundError(EngineError, ImportError):
    """V8's library isn't installed, or not for this platform."""


class EngineCheckError(EngineError):
    """V8's library was found, but isn't the one that the binding expects.

    Attributes:
        what: The check that failed.
    """

    def __init__(self, what: str, detail: str) -> None:
        """Name the check that failed and what it found."""
        self.what = what
        super().__init__(
            f"the V8 engine failed its check of {what}: {detail}; "
            "run `isokernel doctor` for the full report"
        )


class IsolateClosedError(EngineError):
    """The isolate was closed before this call."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("the isolate is closed")


class IsolateThreadError(EngineError):
    """The isolate was used by a thread that it doesn't belong to."""


class ScriptError(EngineError):
    """A script of isokernel's own runtime threw: a defect of ours or of its host."""


class TerminatedError(EngineError):
    """JavaScript was stopped by `Isolate.terminate` or by a memory bound."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("execution was terminated")


class SnapshotError(EngineError):
    """A heap snapshot could not be made or used."""


class SnapshotFailedError(SnapshotError):
    """V8 could not write this heap; the context itself is unharmed.

    Attributes:
        reason: What V8 said.
        kind: The kind of object that can't be saved, such as `Intl.DateTimeFormat`;
            None if unknown.
        path: An expression that leads to it, such as `globalThis.format`, or the names
            by which its holder has it; None if neither was found.
        holder: What holds it where that isn't the session itself: the URL of a module,
            which names its package, or `a function`; None if unknown.
    """

    def __init__(
        self,
        reason: str,
        kind: str | None = None,
        path: str | None = None,
        holder: str | None = None,
    ) -> None:
        """Keep V8's own words."""
        self.reason = reason
        self.kind = kind
        self.path = path
        self.holder = holder
        super().__init__(f"the heap can't be saved: {reason}")


class SnapshotFormatError(SnapshotError, ValueError):
    """The bytes aren't a snapshot, are damaged, or come from another engine."""


class SnapshotEngineError(SnapshotFormatError):
    """Another engine wrote the snapshot.

    Attributes:
        saved: The engine that wrote it.
        engine: The engine in use.
    """

    def __init__(self, saved: str, engine: str) -> None:
        """Name both."""
        self.saved, self.engine = saved, engine
        super().__init__(
            f"the heap was saved by the engine {saved!r}; this is {engine!r}"
        )


class TranspilerError(IsokernelError):
    """The TypeScript compiler itself failed, not the user's code."""


class TypeCheckerError(IsokernelError):
    """The type checker failed or ran out of memory; the user's code isn't at fault."""


class ContextError(IsokernelError):
    """A context was used in a way that it doesn't support."""


class ContextBusyError(ContextError):
    """An execution is pending; a context takes one at a time."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("the context is still running an execution")


class ContextClosedError(ContextError):
    """The context was closed before this call."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("the context is closed")


class InputError(IsokernelError):
    """Input was requested but isn't available."""


class InputUnavailableError(InputError):
    """The front can't ask its user (stdin isn't allowed)."""


class InputInterruptedError(InputError):
    """The execution was interrupted while it waited for input."""


class CapabilityError(IsokernelError):
    """A call for something beyond the context failed; the calling code is told.

    Attributes:
        code: The error's name for programs, such as `ENOENT`.
        details: Further fields that the error has in JavaScript; plain data.
    """

    name = "Error"
    """What JavaScript calls the error."""

    def __init__(self, message: str, *, code: str, **details: Any) -> None:
        """Keep what the code is told."""
        self.code = code
        self.details = details
        super().__init__(message)

    def as_data(self) -> dict[str, Any]:
        """Return the fields of the error in JavaScript."""
        named = {"name": self.name, "message": str(self), "code": self.code}
        return {**self.details, **named}


class CapabilityDeniedError(CapabilityError):
    """No policy allows what was asked for.

    Attributes:
        capability: Such as `net`.
        target: What was asked for, in its canonical form.
        setting: What would allow it.
    """

    name = "CapabilityDeniedError"

    def __init__(
        self, capability: str, target: str, setting: str, *, reason: str = ""
    ) -> None:
        """Say what was asked for, and how it could be allowed.

        Args:
            capability: See above.
            target: See above.
            setting: See above.
            reason: Why it isn't allowed, if more is known than that nothing allows it.
        """
        self.capability, self.target, self.setting = capability, target, setting
        why = reason or "no policy allows it"
        message = f"{capability}: {target} is denied: {why}; {setting} would allow it"
        super().__init__(
            message,
            code="capability_denied",
            capability=capability,
            target=target,
            setting=setting,
        )


class CallInterruptedError(CapabilityError):
    """JavaScript is to stop, while it waited for the answer of a call."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("the call was interrupted", code="interrupted")


class HistoryError(IsokernelError):
    """The history file can't be read or written."""


class HeapFileError(IsokernelError):
    """A saved heap is missing or unusable, or there is no folder for heaps."""


class FileError(IsokernelError):
    """What was asked of a path in a context's folder can't be done.

    Attributes:
        code: The kind of failure by its POSIX name, such as `ENOENT`.
        path: The path, as it was asked for.
        detail: More than the code says; empty if there is nothing more.
    """

    def __init__(self, path: str, code: str, detail: str = "") -> None:
        """Keep what is known."""
        self.code, self.path, self.detail = code, path, detail
        number = getattr(errno, code, 0)
        text = detail or (os.strerror(number).lower() if number else "failed")
        super().__init__(f"{code}: {text}{f', {path[:200]!r}' if path else ''}")

    @classmethod
    def of(cls, error: OSError, path: str) -> FileError:
        """Return what the system's error is for a path; `EXDEV` leads out of it."""
        code = errno.errorcode.get(error.errno or 0, "EIO")
        if code == "EXDEV":
            return cls(path, "EACCES", "it leads out of the context's folder")
        return cls(path, code)


class FileLimitError(FileError):
    """A limit of a context's folder is reached.

    Attributes:
        setting: The setting that sets it.
    """

    def __init__(self, path: str, what: str, limit: int, setting: str) -> None:
        """Name the limit and its setting."""
        self.setting = setting
        code = "EFBIG" if setting == "file_bytes_max" else "EDQUOT"
        if setting == "files_open_max":
            code = "EMFILE"
        super().__init__(path, code, f"{what}; the limit is {limit} ({setting})")


class ConnectionFileError(IsokernelError, ValueError):
    """A Jupyter connection file is missing, malformed or of an unknown kind."""


class MessageError(IsokernelError, ValueError):
    """A Jupyter message is malformed, or requests what this kernel doesn't have."""


class SignatureError(MessageError):
    """A Jupyter message isn't signed with our key, or has been received before."""


class FrameError(IsokernelError, ValueError):
    """Bytes between a server and a context aren't a frame, or are too large a one."""


class ForkServerError(IsokernelError):
    """The fork server could not be started, or a request to it failed."""


class ContainerError(IsokernelError):
    """A container can't be made on this machine, or not with these settings."""


class PackageError(CapabilityError):
    """Modules or packages can't be had; the message says what to do about it."""

    code: str = "ERR_PACKAGE"

    def __init__(self, message: str) -> None:
        """Have the code of the class, which is Node.js's if it has one."""
        super().__init__(message, code=type(self).code)


class ModuleSpecifierError(PackageError, ValueError):
    """An import names nothing that could be loaded."""

    code = "ERR_INVALID_MODULE_SPECIFIER"

    def __init__(self, specifier: str, why: str) -> None:
        """Name the specifier."""
        super().__init__(f"can't import {shorten(specifier)!r}: {why}")


class ModuleMissingError(PackageError, LookupError):
    """There is no such package, version or file."""

    code = "ERR_MODULE_NOT_FOUND"


class PackageExportError(PackageError, LookupError):
    """The package is there, but doesn't export this; or its package.json is wrong."""

    code = "ERR_PACKAGE_PATH_NOT_EXPORTED"


class RegistryError(PackageError):
    """The registry can't be reached, refuses, or sends what can't be used."""

    code = "ERR_PACKAGE_REGISTRY"


class PackageOfflineError(PackageError):
    """What isn't in the cache can't be fetched, as the settings say offline."""

    code = "ERR_PACKAGE_OFFLINE"


class PackageDamagedError(PackageError):
    """A tarball, a pack or an answer isn't what it should be."""

    code = "ERR_PACKAGE_DAMAGED"


class PackageLimitError(PackageError):
    """A package is larger than the settings allow."""

    code = "ERR_PACKAGE_LIMIT"


class PackageCacheError(PackageError):
    """The folder of the cache can't be read or written."""

    code = "ERR_PACKAGE_CACHE"


class SettingsError(IsokernelError, ValueError):
    """A setting, such as an environment variable, has an invalid value."""


class InstallationError(IsokernelError):
    """Kernelspecs could not be written or found."""


def shorten(text: str, length: int = 200) -> str:
    """Return a text for a message, its end left out if it is long."""
    return text if len(text) <= length else f"{text[:length]}…"


def reason_of(error: BaseException) -> str:
    """Return why something failed, for a message; the system's numbers left out."""
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f": {error.filename}"
        return f"{error.strerror}{place}"
    return str(error)

"""Everything that isokernel itself can raise.

    IsokernelError
    ├── EngineError                     V8 or the binding to it
    │   ├── EngineNotFoundError     (ImportError) the library isn't installed
    │   ├── EngineCheckError        the library isn't the one we know
    │   ├── IsolateClosedError      the isolate is gone
    │   ├── IsolateThreadError      an isolate belongs to one thread
    │   ├── ScriptError             a script of ours failed inside V8
    │   ├── TerminatedError         JavaScript was stopped from outside
    │   └── SnapshotError
    │       ├── SnapshotFailedError     V8 could not write this heap
    │       └── SnapshotFormatError     (ValueError) not a heap that this engine reads
    │           └── SnapshotEngineError     another engine wrote it
    ├── TranspilerError                 the TypeScript compiler itself failed
    ├── TypeCheckerError                types can't be checked
    ├── ContextError
    │   ├── ContextBusyError        one execution at a time
    │   └── ContextClosedError
    ├── InputError                      prompt() and its kin
    │   ├── InputUnavailableError   nobody can be asked
    │   └── InputInterruptedError   the user interrupted instead of answering
    ├── HistoryError                    the history file can't be used
    ├── HeapFileError                   a saved heap isn't there, or can't be used
    ├── ConnectionFileError             (ValueError) an unusable connection file
    ├── MessageError                    (ValueError) a message that can't be served
    │   └── SignatureError          it isn't signed with our key, or came before
    ├── FrameError                      (ValueError) not a frame, or one too large
    ├── ForkServerError                 the fork server can't be had, or refused
    ├── ContainerError                  a container can't be made
    ├── SettingsError                   (ValueError) a setting has no sensible value
    └── InstallationError               kernelspecs could not be written or found

The failure of the user's JavaScript is not here: it is data
(`isokernel.context.events.ErrorInfo`), because for us it is an ordinary answer.
"""

from __future__ import annotations


class IsokernelError(Exception):
    """Root of all errors of isokernel."""


class EngineError(IsokernelError):
    """V8 or the binding to it can't do what was asked."""


class EngineNotFoundError(EngineError, ImportError):
    """The library that holds V8 isn't installed, or not for this platform."""


class EngineCheckError(EngineError):
    """The library was found, but isn't the one that the binding knows.

    Attributes:
        what: Which check failed.
    """

    def __init__(self, what: str, detail: str) -> None:
        """Name the check that failed and what was seen."""
        self.what = what
        super().__init__(
            f"the V8 engine failed its check of {what}: {detail}; "
            "run `isokernel doctor` for the whole result"
        )


class IsolateClosedError(EngineError):
    """The isolate was closed before this call."""

    def __init__(self) -> None:
        """State what happened."""
        super().__init__("the isolate is closed")


class IsolateThreadError(EngineError):
    """The isolate was used by a thread that it doesn't belong to."""


class ScriptError(EngineError):
    """A script of isokernel's own runtime threw. A defect of ours, or of its host."""


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
        kind: Of the object that can't be saved, such as `Intl.DateTimeFormat`; None if
            unknown.
        path: An expression that gives it, such as `globalThis.format`; None if there
            is none.
    """

    def __init__(
        self, reason: str, kind: str | None = None, path: str | None = None
    ) -> None:
        """Keep V8's own words."""
        self.reason = reason
        self.kind = kind
        self.path = path
        super().__init__(f"the heap can't be saved: {reason}")


class SnapshotFormatError(SnapshotError, ValueError):
    """The bytes aren't a snapshot, are damaged, or come from another engine."""


class SnapshotEngineError(SnapshotFormatError):
    """Another engine wrote the snapshot.

    Attributes:
        saved: The engine that wrote it.
        engine: The engine that is here.
    """

    def __init__(self, saved: str, engine: str) -> None:
        """Name both."""
        self.saved, self.engine = saved, engine
        super().__init__(
            f"the heap was saved by the engine {saved!r}; this is {engine!r}"
        )


class TranspilerError(IsokernelError):
    """The TypeScript compiler failed; not the user's code, the compiler itself."""


class TypeCheckerError(IsokernelError):
    """The type checker failed, or has no memory left; not the user's code's fault."""


class ContextError(IsokernelError):
    """A context was used in a way that it can't serve."""


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
    """Input was asked for and can't be had."""


class InputUnavailableError(InputError):
    """The front can't ask its user (stdin isn't allowed)."""


class InputInterruptedError(InputError):
    """The execution was interrupted while it waited for input."""


class HistoryError(IsokernelError):
    """The history file can't be read or written."""


class HeapFileError(IsokernelError):
    """A saved heap isn't there or can't be used, or there is no place for heaps."""


class ConnectionFileError(IsokernelError, ValueError):
    """A Jupyter connection file is missing, malformed or of an unknown kind."""


class MessageError(IsokernelError, ValueError):
    """A Jupyter message is malformed, or asks for what this kernel doesn't have."""


class SignatureError(MessageError):
    """A Jupyter message isn't signed with our key, or it came before."""


class FrameError(IsokernelError, ValueError):
    """Bytes between a server and a context aren't a frame, or one is too large."""


class ForkServerError(IsokernelError):
    """The fork server could not be started, or could not do what was asked."""


class ContainerError(IsokernelError):
    """A container can't be made on this machine, or not with these settings."""


class SettingsError(IsokernelError, ValueError):
    """A setting, such as an environment variable, has no sensible value."""


class InstallationError(IsokernelError):
    """Kernelspecs could not be written or found."""

"""Which function is called with what of an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isokernel.client.events import Displayed, Event, Failed, Printed

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.client.executions import Failure, Output

__all__ = ["Listeners"]


@dataclass(frozen=True)
class Listeners:
    """What `run` calls while the cell runs.

    Attributes:
        on_stdout: Called with what is printed to standard output.
        on_stderr: Called with what is printed to standard error.
        on_result: Called with what is displayed, the value of the cell among it.
        on_error: Called with how the code failed.
    """

    on_stdout: Callable[[str], Any] | None = None
    on_stderr: Callable[[str], Any] | None = None
    on_result: Callable[[Output], Any] | None = None
    on_error: Callable[[Failure], Any] | None = None

    def tell(self, event: Event) -> Any:
        """Call who listens to an event, and return what it returns.

        What earlier executions put out is not told: it isn't this cell's.
        """
        if isinstance(event, Printed) and not event.late:
            listener = self.on_stdout if event.stream == "stdout" else self.on_stderr
            return listener and listener(event.text)
        if isinstance(event, Displayed) and not event.late:
            return self.on_result and self.on_result(event.output)
        if isinstance(event, Failed):
            return self.on_error and self.on_error(event.error)
        return None

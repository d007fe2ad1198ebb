"""The files that a run leaves in its context's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isoserver.contexts.result_files import whole_options
from isoserver.files.whole import changed_since
from isoserver.runs.records import WrittenFile

if TYPE_CHECKING:
    from isoserver.contexts.jobs import Execution
    from isoserver.files.service import Files
    from isoserver.runs.orders import Order
    from isoserver.runs.run import Run
    from isoserver.settings.server import ServerSettings

__all__ = ["whole_of", "written_by"]

_TOLD_MAX: Final = 20


def whole_of(
    settings: ServerSettings, run: Run[Order], heap_bytes_max: int | None = None
) -> dict[str, Any]:
    """Return the options that make a file of a long result.

    Without a session the context goes with the run, and so would the file.
    """
    if run.order.session is None:
        return {}
    above = run.order.whole_above
    return whole_options(settings, run.id, above=above, heap_bytes_max=heap_bytes_max)


async def written_by(
    files: Files, run: Run[Order], execution: Execution
) -> dict[str, Any]:
    """Return the fields of an `Ending` that tell what a run has written."""
    context = run.context
    if run.order.session is None or context is None or execution.began is None:
        return {}
    found = await changed_since(files, context.key, execution.began)
    # The newest are those that its code has left in the end.
    found.sort(key=lambda one: one.facts.st_mtime_ns, reverse=True)
    told = [WrittenFile(one.path, one.facts.st_size) for one in found[:_TOLD_MAX]]
    return {"context_id": context.id, "files": told, "files_count": len(found)}

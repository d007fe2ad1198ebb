"""A context's history as a notebook, and a notebook run in a context."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, output_from_msg
from nbformat.validator import NotebookValidationError, ValidationError, normalize

from isoserver.contexts.kernel_ids import kernel_id
from isoserver.errors import FieldProblem, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.languages import Language

__all__ = ["history", "read", "run"]

_KERNELS: Final = {
    "python": ("python3", "Python 3"),
    "javascript": ("v8-javascript", "JavaScript (V8)"),
    "typescript": ("v8-typescript", "TypeScript (V8)"),
}

_UNREADABLE: Final = (
    ValidationError,
    NotebookValidationError,
    AssertionError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What nbformat raises when a document is not a notebook."""


def history(context: Context, contents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a notebook of what was run in a context, which names the context.

    Args:
        context: The context.
        contents: What `Contexts.history` returns.
    """
    cells = [_cell(number, content) for number, content in enumerate(contents, 1)]
    of = {"context_id": context.id, "kernel_id": kernel_id(context.key)}
    metadata = {**_metadata(context.language), "isokernel": of}
    notebook: dict[str, Any] = new_notebook(cells=cells, metadata=metadata)
    return notebook


async def read(body: bytes) -> dict[str, Any]:
    """Parse a notebook of any version into one of version 4.

    Raises:
        InvalidRequestError: The body isn't a notebook.
    """
    try:
        return await asyncio.to_thread(_read, body.decode())
    except _UNREADABLE as error:
        text = str(error).partition("\n")[0]
        problem = FieldProblem("body", f"not a notebook: {text}")
        raise InvalidRequestError(problem) from error


async def run(
    context: Context, notebook: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Run a notebook's cells in order, up to the first that fails.

    Args:
        context: What runs them.
        notebook: Of version 4. Its outputs are replaced.
        seconds: How long each cell may run.

    Returns:
        The same notebook.
    """
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        cell["outputs"], cell["execution_count"] = [], None
    for cell in cells:
        if not cell["source"].strip():
            continue
        execution = context.execute(cell["source"], seconds)
        await execution.done
        cell["outputs"] = _outputs(execution)
        cell["execution_count"] = execution.count
        if execution.failure is not None:
            break
    return notebook


def _read(text: str) -> dict[str, Any]:
    data = json.loads(text)
    if not isinstance(data, dict) or not isinstance(data.get("nbformat"), int):
        message = "it has no nbformat"
        raise TypeError(message)
    if data["nbformat"] == nbformat.current_nbformat:
        _, data = normalize(data)
    notebook = nbformat.reads(json.dumps(data), as_version=4)
    nbformat.validate(notebook)
    result: dict[str, Any] = notebook
    return result


def _cell(number: int, content: dict[str, Any]) -> Any:
    return new_code_cell(
        source=content["code"],
        execution_count=content["count"],
        outputs=[_output(item) for item in content["outputs"]],
        id=f"cell-{number}",
    )


def _outputs(execution: Execution) -> list[Any]:
    return [_output(item) for item in execution.outputs.plain()]


def _output(item: dict[str, Any]) -> Any:
    content = {key: value for key, value in item.items() if key != "output_type"}
    kind = item["output_type"]
    return output_from_msg({"header": {"msg_type": kind}, "content": content})


def _metadata(language: Language) -> dict[str, Any]:
    name, title = _KERNELS.get(language.name, (language.kernelspec, language.name))
    return {
        "kernelspec": {
            "name": name,
            "display_name": title,
            "language": language.name,
        },
        "language_info": {"name": language.name},
    }

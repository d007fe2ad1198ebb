"""What code displays and writes, as content blocks of MCP: images, files, text."""

from __future__ import annotations

import json
import mimetypes
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp_types import ContentBlock

    from isoserver.runs.records import RunRecord

__all__ = ["content_blocks", "file_links"]

_PICTURES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS: Final = ("text/markdown", "text/plain")
_TEXT_KINDS: Final = ("text/", "image/svg+xml", "application/json", "+json", "+xml")


def content_blocks(
    task_id: str, displays: Iterable[dict[str, Any]]
) -> tuple[ContentBlock, ...]:
    """Return a block for each thing that was displayed, in its richest form.

    Args:
        task_id: The task that displayed them.
        displays: What was displayed, with `data` by MIME type.
    """
    return tuple(
        _block(f"task://{task_id}/displays/{number}", display["data"])
        for number, display in enumerate(displays)
        if display["data"]
    )


def _block(uri: str, data: dict[str, Any]) -> ContentBlock:
    for kind in _PICTURES:
        if kind in data:
            return ImageContent(data=_base64(data[kind]), mime_type=kind)
    for kind, value in data.items():
        if kind.startswith("audio/"):
            return AudioContent(data=_base64(value), mime_type=kind)
    # Texts that are there beside something else only describe it.
    rich = [kind for kind in data if kind not in {*_TEXTS, "text/html"}]
    if rich:
        return _resource(uri, rich[0], data[rich[0]])
    for kind in _TEXTS:
        if kind in data:
            return TextContent(text=str(data[kind]))
    return _resource(uri, *next(iter(data.items())))


def _resource(uri: str, kind: str, value: Any) -> EmbeddedResource:
    is_text = any(part in kind for part in _TEXT_KINDS)
    if isinstance(value, str) and not is_text:
        blob = BlobResourceContents(uri=uri, mime_type=kind, blob=_base64(value))
        return EmbeddedResource(resource=blob)
    text = value if isinstance(value, str) else json.dumps(value)
    contents = TextResourceContents(uri=uri, mime_type=kind, text=text)
    return EmbeddedResource(resource=contents)


def _base64(value: Any) -> str:
    """Remove the line breaks that Jupyter's base64 may have."""
    return "".join(str(value).split())


def file_links(record: RunRecord) -> tuple[ContentBlock, ...]:
    """Return a link to each file that a run wrote, and how many more there are."""
    ending = record.ending
    if ending is None or not ending.files:
        return ()
    place = f"context://{quote(ending.context_id, safe='')}/files"
    links = [
        ResourceLink(
            name=file.path,
            uri=f"{place}/{quote(file.path)}",
            mime_type=mimetypes.guess_type(file.path)[0] or "application/octet-stream",
            size=file.size,
        )
        for file in ending.files
    ]
    more = ending.files_count - len(links)
    if not more:
        return tuple(links)
    text = f"{more} more files were written; {place} lists all."
    return (*links, TextContent(text=text))

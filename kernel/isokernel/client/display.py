"""What a notebook shows of outputs of code that it doesn't trust.

A notebook runs scripts of what its cells show as its own, and those can reach its
kernel. So what a browser would run is put into a frame that has nothing of the page:
scripts work there, as Plotly's do, but reach neither the notebook nor its cookies. What
can't be shown so, and may run, is left out; the plain text is always there.
"""

from __future__ import annotations

import base64
import html
import re
from typing import Any, Final

__all__ = ["Bundle", "error_bundle", "output_bundle"]

Bundle = tuple[dict[str, Any], dict[str, Any]]
"""Forms by MIME type, and metadata, as `_repr_mimebundle_` returns them."""

_HARMLESS: Final = re.compile(
    r"text/plain|text/latex|image/(?:png|jpeg|gif|webp)|application/(?:json|geo\+json)"
    r"|application/vnd\.vega(?:lite)?\.v\d+\+json"
)
"""What notebooks draw by themselves, without running any of it."""
_FRAME: Final = (
    '<iframe sandbox="allow-scripts" referrerpolicy="no-referrer" srcdoc="{}"'
    ' style="width: 100%; height: 24em; border: 0; resize: vertical; overflow: auto;'
    ' background: white"></iframe><script>(() => {{'
    " const frame = document.currentScript.previousElementSibling;"
    " addEventListener('message', ({{ source, data }}) => {{"
    " if (source === frame.contentWindow && data > 0)"
    " frame.style.height = `${{Math.min(data, 600)}}px`; }}) }})()</script>"
)
"""Its height is that of its content where the page lets our own script run."""
_SAYS_HEIGHT: Final = (
    "<script>new ResizeObserver(() => parent.postMessage(Math.ceil("
    "document.documentElement.getBoundingClientRect().height) + 20, '*'))"
    ".observe(document.documentElement)</script>"
)
_SVG: Final = '<img src="data:image/svg+xml;base64,{}">'
_ERROR: Final = '<pre style="color: #b00020">{}</pre>'


def output_bundle(
    data: dict[str, Any], metadata: dict[str, Any], *, trusted: bool
) -> Bundle:
    """Return what a notebook shows of an output.

    Args:
        data: Its forms by MIME type.
        metadata: What was said about them.
        trusted: Whether it is shown as it is.
    """
    if trusted:
        return data, metadata
    shown = {mime: value for mime, value in data.items() if _HARMLESS.fullmatch(mime)}
    if "text/html" in data:
        inside = _SAYS_HEIGHT + _text(data["text/html"])
        shown["text/html"] = _FRAME.format(html.escape(inside))
    elif "image/svg+xml" in data and not {"image/png", "image/jpeg"} & set(shown):
        picture = _text(data["image/svg+xml"]).encode("utf-8", "replace")
        shown["text/html"] = _SVG.format(base64.b64encode(picture).decode())
    shown.setdefault("text/plain", _text(data.get("text/markdown", "")))
    return shown, {mime: metadata[mime] for mime in shown if mime in metadata}


def error_bundle(traceback: str) -> Bundle:
    """Return what a notebook shows of an error."""
    return {
        "text/plain": traceback,
        "text/html": _ERROR.format(html.escape(traceback)),
    }, {}


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)

"""What the kernel says of itself: the content of kernel_info_reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isokernel._version import __version__
from isokernel.jupyter.wire import PROTOCOL_VERSION

if TYPE_CHECKING:
    from isokernel.settings import Language

__all__ = ["kernel_information"]

_LANGUAGES: dict[Language, dict[str, Any]] = {
    "javascript": {
        "name": "javascript",
        "mimetype": "text/javascript",
        "file_extension": ".js",
        "pygments_lexer": "javascript",
        "codemirror_mode": "javascript",
        "nbconvert_exporter": "script",
    },
    "typescript": {
        "name": "typescript",
        "mimetype": "text/typescript",
        "file_extension": ".ts",
        "pygments_lexer": "typescript",
        "codemirror_mode": "typescript",
        "nbconvert_exporter": "script",
    },
}
_TITLES: dict[Language, str] = {"javascript": "JavaScript", "typescript": "TypeScript"}
_HELP = [
    {
        "text": "JavaScript reference",
        "url": "https://developer.mozilla.org/docs/Web/JavaScript/Reference",
    },
    {
        "text": "TypeScript handbook",
        "url": "https://www.typescriptlang.org/docs/handbook/intro.html",
    },
    {
        "text": "Intl",
        "url": "https://developer.mozilla.org/docs/Web/JavaScript/Reference/"
        "Global_Objects/Intl",
    },
]


def kernel_information(language: Language, engine_version: str) -> dict[str, Any]:
    """Give the content of kernel_info_reply for a kernel of this language."""
    title = _TITLES[language]
    return {
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "isokernel",
        "implementation_version": __version__,
        "language_info": {**_LANGUAGES[language], "version": engine_version},
        "banner": f"isokernel {__version__}: {title} on V8 {engine_version}",
        "debugger": False,
        "supported_features": [],
        "help_links": _HELP,
    }

"""What a kernel says of itself: the content of `kernel_info_reply`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isokernel._version import __version__

if TYPE_CHECKING:
    from isokernel.settings import Language

__all__ = ["PROTOCOL_VERSION", "kernel_information"]

PROTOCOL_VERSION: Final = "5.4"
"""Of Jupyter's messaging."""
_TITLES: Final[dict[Language, str]] = {
    "javascript": "JavaScript",
    "typescript": "TypeScript",
}
_FILE_ENDINGS: Final[dict[Language, str]] = {"javascript": ".js", "typescript": ".ts"}
_HELP_LINKS: Final = [
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
    """Return the content of kernel_info_reply for a kernel of this language."""
    title = _TITLES[language]
    return {
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "isokernel",
        "implementation_version": __version__,
        "language_info": {
            "name": language,
            "mimetype": f"text/{language}",
            "file_extension": _FILE_ENDINGS[language],
            "pygments_lexer": language,
            "codemirror_mode": language,
            "nbconvert_exporter": "script",
            "version": engine_version,
        },
        "banner": f"isokernel {__version__}: {title} on V8 {engine_version}",
        "debugger": False,
        "supported_features": [],
        "help_links": _HELP_LINKS,
    }

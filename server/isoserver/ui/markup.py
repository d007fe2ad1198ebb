"""The UI's templates and static files, loaded when the first page is asked for."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from isoserver.ui.text import (
    duration,
    exact,
    in_bytes,
    moment,
    segment,
    visible,
)

__all__ = ["render", "static_file", "static_name"]

_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript"}
_STATIC: Final = ("ui.css", "ui.js")


def _shown(value: Any) -> Any:
    """Prepare what an expression of a template has, before it is escaped."""
    return (
        visible(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("isoserver.ui", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        bytes=in_bytes, moment=moment, duration=duration, exact=exact, urlencode=segment
    )
    made.globals.update(static=static_name)
    return made


def render(name: str, values: dict[str, Any]) -> str:
    """Return a template's HTML; whatever is in it is escaped, unless it is `Markup`."""
    return _environment().get_template(name).render(values)


@cache
def _static() -> dict[str, tuple[str, bytes, str]]:
    """Return the static files: by their name in URLs, or by their own."""
    found = {}
    for name in _STATIC:
        data = (files("isoserver.ui") / "static" / name).read_bytes()
        stem, _, ending = name.partition(".")
        named = f"{stem}.{hashlib.sha256(data).hexdigest()[:12]}.{ending}"
        found[named] = found[name] = (named, data, _TYPES[ending])
    return found


def static_name(name: str) -> str:
    """Return a file's name in URLs, which changes with its content."""
    return _static()[name][0]


def static_file(named: str) -> tuple[bytes, str] | None:
    """Return content and content type by the name in the URL; None if there is none."""
    found = _static().get(named)
    return None if found is None or named in _STATIC else found[1:]

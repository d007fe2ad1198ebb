"""Redaction: sources' own secrets, and in inputs whatever looks like a secret."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from isokernel.network.secrets import HIDDEN, SECRET_MIN, forms_of
from isokernel.protocol.messages import well_formed

__all__ = [
    "HIDDEN",
    "SECRET_MIN",
    "Excerpt",
    "Redactor",
    "clean",
    "excerpt",
    "is_secret",
]

_KEY: Final = re.compile(
    r"authorization|api[-_ ]?key|token|secret|password|passwd|cookie|credential",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(f"{_KEY.pattern}|auth|session|signature", re.IGNORECASE)
_RANDOM: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w.~+/=-]{20,}", re.ASCII)
"""Twenty characters or more with letters and digits, and nothing between."""
_DEPTH_MAX: Final = 64
_PIECE_MIN: Final = 32
"""Characters that are shown of a long text, if there is room for no more."""
_INVISIBLE: Final = re.compile(
    r"[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


class Redactor:
    """Removes the secrets of one source from whatever comes from it."""

    def __init__(self, *secrets: str) -> None:
        """Compile a pattern of the secrets' forms.

        Args:
            secrets: Their values; also found in URL and base64 form, and in JSON.
        """
        forms = {
            form
            for secret in secrets
            if len(secret) >= SECRET_MIN
            for form in forms_of(secret)
        }
        # The longest first, so that no part of one is left over by a shorter one.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(re.escape(form) for form in ordered))
            if ordered
            else None
        )

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def data(self, value: Any, depth: int = 0) -> Any:
        """Return plain data without secrets, in keys as well."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self._pattern.sub(HIDDEN, value)
        if depth > _DEPTH_MAX:
            return HIDDEN if isinstance(value, (dict, list)) else value
        if isinstance(value, list):
            return [self.data(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {
                self.text(str(name)): self.data(item, depth + 1)
                for name, item in value.items()
            }
        return value


def is_secret(name: str, value: str) -> bool:
    """Tell whether a header or variable looks like a secret, by its name or value."""
    return _HEADER.search(name) is not None or _RANDOM.fullmatch(value) is not None


class Excerpt(NamedTuple):
    """An input as people see it.

    Attributes:
        text: JSON, with notes where something is hidden or cut.
        complete: Whether every field is there, at least by its name, type and size.
    """

    text: str
    complete: bool


def excerpt(value: Any, limit: int) -> Excerpt:
    """Shorten an input for people: secret-looking values hidden, long texts cut.

    Code chooses the order and the names of fields. So no field makes another one
    vanish, and of what isn't shown it is said what it is and how large.

    Args:
        value: Plain data.
        limit: Characters at most, but for the note that there are more.
    """
    text = _dump(value, limit)
    if len(text) <= limit:
        return Excerpt(text, complete=True)
    least = _dump(value, _PIECE_MIN)
    if len(least) > limit:
        more = len(least) - limit
        return Excerpt(f"{least[:limit]}… [{more} more characters]", complete=False)
    text, piece = least, _PIECE_MIN
    while len(longer := _dump(value, piece := piece * 2)) <= limit:
        text = longer
    return Excerpt(text, complete=True)


def clean(text: str) -> str:
    """Replace what databases don't take: NUL, halves of characters."""
    return well_formed(text.replace("\x00", "\ufffd"))


def _dump(value: Any, piece: int) -> str:
    text = _json(_hide(value, piece, 0))
    # What can't be seen, or turns the text around, must not hide the rest.
    return clean(_INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _hide(value: Any, piece: int, depth: int) -> Any:
    if isinstance(value, str) and len(value) > piece:
        return f"{value[:piece]}… [{len(value) - piece} more characters]"
    if not isinstance(value, (list, dict)):
        return value
    if depth > _DEPTH_MAX:
        return f"[too deep: {_kind(value)}]"
    if isinstance(value, list):
        return [_hide(item, piece, depth + 1) for item in value]
    return {
        name: f"[redacted: {_kind(item)}]"
        if _KEY.search(str(name))
        else _hide(item, piece, depth + 1)
        for name, item in value.items()
    }


def _kind(value: Any) -> str:
    """Describe a value's type and size."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    if isinstance(value, (list, dict)):
        name = "list" if isinstance(value, list) else "object"
        return f"{name} of {len(value)}, {len(_json(value))} characters"
    return "true or false" if isinstance(value, bool) else "number"

"""Nothing secret leaves: neither the sources' own values, nor what looks like one."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final
from urllib.parse import quote

__all__ = ["HIDDEN", "SECRET_MIN", "Redactor", "shown"]

HIDDEN: Final = "[redacted]"
SECRET_MIN: Final = 4
"""Characters of the shortest secret: a shorter one would be found everywhere."""

_KEY: Final = re.compile(
    r"authorization|api[-_ ]?key|token|secret|passwor?d|passwd|cookie|credential",
    re.IGNORECASE,
)
_DEPTH_MAX: Final = 64


class Redactor:
    """Takes the secrets of one source out of whatever comes from it."""

    def __init__(self, *secrets: str) -> None:
        """Take the secrets.

        Args:
            secrets: Their values; also found in URL and base64 form, and in JSON.
        """
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) < SECRET_MIN:
                continue
            coded = base64.b64encode(secret.encode()).decode()
            escaped = json.dumps(secret)[1:-1]
            forms.update((secret, quote(secret, safe=""), coded, escaped))
        # The longest first, so that no part of one is left over by a shorter one.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(re.escape(form) for form in ordered))
            if ordered
            else None
        )

    def text(self, text: str) -> str:
        """Give a text without secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def data(self, value: Any, depth: int = 0) -> Any:
        """Give plain data without secrets, in keys as well."""
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


def shown(value: Any, limit: int) -> str:
    """Give an input as text for people: values of telling keys hidden, and cut.

    Args:
        value: Plain data.
        limit: Characters at most.
    """
    text = json.dumps(_hide(value, 0), ensure_ascii=False, default=str)
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [{len(text) - limit} more characters]"


def _hide(value: Any, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        return "…"
    if isinstance(value, list):
        return [_hide(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            name: HIDDEN if _KEY.search(str(name)) else _hide(item, depth + 1)
            for name, item in value.items()
        }
    return value

"""Has schemathesis send code as it is, where a body is code and nothing else."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/javascript", "application/typescript")
def as_text(_context: Any, value: Any) -> bytes:
    """Return the body for a value; bytes that are no text for what is none."""
    return value.encode(errors="replace") if isinstance(value, str) else b"\xff\xfe"

"""Has schemathesis send code as it is, where a body is code and nothing else."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/javascript", "application/typescript")
def as_text(_context: Any, value: Any) -> bytes:
    """Return the body for a value."""
    return str(value).encode(errors="replace")

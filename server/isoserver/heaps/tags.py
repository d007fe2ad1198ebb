"""Bounds of tags."""

from __future__ import annotations

from typing import Final

from isoserver.errors import FieldProblem, InvalidRequestError

__all__ = ["check_tags"]

_TAGS_MAX: Final = 100
_NAME_MAX: Final = 256
_VALUE_MAX: Final = 4096


def check_tags(tags: dict[str, str]) -> None:
    """Check that tags aren't too many or too long.

    Raises:
        InvalidRequestError: They are.
    """
    if len(tags) > _TAGS_MAX:
        problem = f"there are {len(tags)}, no more than {_TAGS_MAX} may be"
        raise InvalidRequestError(FieldProblem("tags", problem))
    for name, value in tags.items():
        if not name or len(name) > _NAME_MAX or len(value) > _VALUE_MAX:
            problem = (
                f"names have 1 to {_NAME_MAX} characters, values up to {_VALUE_MAX}"
            )
            raise InvalidRequestError(FieldProblem("tags", problem))
        if "\0" in name or "\0" in value:
            raise InvalidRequestError(FieldProblem("tags", "no NUL characters"))

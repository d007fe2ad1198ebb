"""The errors form one tree, which their module draws."""

from __future__ import annotations

import inspect
import re

from isokernel import errors


def _errors() -> list[type]:
    return [
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if item.__module__ == errors.__name__
    ]


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    defined = [error.__name__ for error in _errors()]
    assert sorted([*drawn, "IsokernelError"]) == sorted(defined)


def test_errors_have_one_root_and_one_suffix() -> None:
    for error in _errors():
        assert issubclass(error, errors.IsokernelError)
        assert error.__name__.endswith("Error")
        assert error.__doc__

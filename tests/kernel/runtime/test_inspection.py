"""Inspection: signature, comment, source and value of the name at the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext

SETUP = """
/**
 * Adds numbers.
 * @param {number} a the first
 *   of them
 * @returns {number} the sum
 */
const add = async (a, {b, c} = {}, ...rest) => a + b;
let foo = {alpha: [1, 2], get boom() { ran++ }}; var ran = 0;
class Shape {
  constructor(width, height) {}
  /** The area. */
  area() { return 1 }
}
/** A constant. */
const LIMIT = 5;
const square = x => x * x;
function old(a, b = ")") { return 1 }
"""


@pytest.fixture
def filled(context: LocalContext) -> LocalContext:
    """A context with things to inspect."""
    context.run(SETUP)
    return context


def plain(
    context: LocalContext, code: str, cursor: int | None = None, detail: int = 0
) -> Any:
    bundle = context.context.queries.inspect(
        code, len(code) if cursor is None else cursor, detail
    )
    return bundle and bundle["text/plain"]


@pytest.mark.parametrize(
    ("code", "signature"),
    [
        ("add", "add(a, {b, c} = {}, ...rest)"),
        ("add(1, ", "add(a, {b, c} = {}, ...rest)"),
        ("old(", 'old(a, b = ")")'),
        ("square(", "square(x)"),
        ("new Shape(", "new Shape(width, height)"),
        ("Shape.prototype.area", "Shape.prototype.area()"),
        ("Math.max(1, ", "Math.max(a, b)"),
        ("add(foo.alpha[0], Math.min(", "Math.min(a, b)"),
        ("add([1, 2].map((x) => ", "[1, 2].map(a)"),
        ("add((1 + 2) * (3", "add(a, {b, c} = {}, ...rest)"),
        ("'abc'.slice", "'abc'.slice(a, b)"),
        ("console.log(", "console.log(...data)"),
    ],
)
def test_signature(filled: LocalContext, code: str, signature: str) -> None:
    """A function's signature is shown at its name and inside the call."""
    assert plain(filled, code).startswith(f"Signature: {signature}\n")


def test_comment(filled: LocalContext) -> None:
    """The comment above the declaration is shown."""
    assert "Docstring:\nAdds numbers.\n@param {number} a the first" in plain(
        filled, "add"
    )
    assert "Docstring: The area." in plain(filled, "Shape.prototype.area")
    assert plain(filled, "LIMIT") == "Docstring: A constant.\nType: number\nValue: 5"
    assert "Docstring" not in plain(filled, "old")


def test_newest_comment_counts(filled: LocalContext) -> None:
    """A declaration that was run again has its new comment."""
    filled.run("/** Adds more. */\nfunction add(a) {}")
    assert "Docstring: Adds more." in plain(filled, "add")


def test_typescript_comment(typescript: LocalContext) -> None:
    """Comments are found above TypeScript declarations, too."""
    typescript.run("/** Typed. */\nconst typed = (a: number): number => a")
    assert "Docstring: Typed." in plain(typescript, "typed")


def test_detail(filled: LocalContext) -> None:
    """Source text is shown at detail 1 only."""
    assert "Source" not in plain(filled, "square")
    assert plain(filled, "square", detail=1).endswith("Source: x => x * x")


def test_value(filled: LocalContext) -> None:
    """Values are shown with their class, without running getters."""
    assert (
        plain(filled, "foo")
        == "Type: Object\nValue: { alpha: [ 1, 2 ], boom: [Getter] }"
    )
    assert plain(filled, "foo.boom") is None
    assert filled.value("ran") == "0"


def test_cursor(filled: LocalContext) -> None:
    """The name that the cursor touches counts, not the end of the code."""
    assert plain(filled, "foo.alpha", 2).startswith("Type: Object")
    assert plain(filled, "foo.alpha", 6).startswith("Type: Array")
    assert plain(filled, "'😀'; LIMIT", 6).startswith("Docstring")


@pytest.mark.parametrize("code", ["nope", "// add", "'add", "1", "", "add(1) + ", "if"])
def test_nothing(filled: LocalContext, code: str) -> None:
    """Nothing is told of what isn't known."""
    assert plain(filled, code) is None


def test_markdown(filled: LocalContext) -> None:
    """The Markdown form has the comment's tags as a list."""
    bundle = filled.context.queries.inspect("add", 3, 0)
    assert bundle
    assert bundle["text/markdown"] == (
        "```js\nadd(a, {b, c} = {}, ...rest)\n```\n\nAdds numbers.\n"
        "- `a` *(number)*: the first of them\n- **returns** *(number)* the sum\n\n"
        "*Type:* `AsyncFunction`"
    )

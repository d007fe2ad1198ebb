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


TYPED = """
const emoji: "😀" = "😀"; function load(id: string): Promise<number> { return 1 as any }
async function all<T extends object>(urls: T[], o?: { n: (a: T) => void }) { return [] }
class Box<T> {
  readonly value: T;
  constructor(value: T) { this.value = value }
  get<K>(key: K, text: "😀ü語" = "😀ü語"): T { return this.value }
  static async of(x: number): Promise<void> {}
}
class Plain { name: string = "a" }
const arrow = (a: number, b: string = ")"): void => {};
const one = async <T extends (a: any) => void>(x: T) => x as any;
const lines = async <
  T>(x: T): Map<
  T, T> => x as any;
const o = {
  m(this: any, a: number): void {},
  ["k" + 1](a: string) {},
  f: function (q: Map<string, number>) {},
  set s(v: string) {},
};
function over(a: string): void; function over(a: any) {}
const given = ({ a }: { a: number } = {} as any) => a;
"""


@pytest.mark.parametrize(
    ("code", "signature", "source"),
    [
        (
            "load",
            "load(id: string)",
            "function load(id: string): Promise<number> { return 1 as any }",
        ),
        (
            "all",
            "all(urls: T[], o?: { n: (a: T) => void })",
            "async function all<T extends object>"
            "(urls: T[], o?: { n: (a: T) => void }) { return [] }",
        ),
        ("new Box", "new Box(value: T)", "class Box<T> {\n  readonly value: T;\n  "),
        (
            "Box.prototype.get",
            'Box.prototype.get(key: K, text: "😀ü語" = "😀ü語")',
            'get<K>(key: K, text: "😀ü語" = "😀ü語"): T { return this.value }',
        ),
        ("Box.of", "Box.of(x: number)", "async of(x: number): Promise<void> {}"),
        ("Plain", "new Plain()", 'class Plain { name: string = "a" }'),
        (
            "arrow",
            'arrow(a: number, b: string = ")")',
            '(a: number, b: string = ")"): void => {}',
        ),
        ("one", "one(x: T)", "async <T extends (a: any) => void>(x: T) => x"),
        ("lines", "lines(x: T)", "async <\n  T>(x: T): Map<\n  T, T> => x"),
        ("o.m", "o.m(this: any, a: number)", "m(this: any, a: number): void {}"),
        ("o.k1", "o.k1(a: string)", '["k" + 1](a: string) {}'),
        (
            "o.f",
            "o.f(q: Map<string, number>)",
            "function (q: Map<string, number>) {}",
        ),
        ("over", "over(a: any)", "function over(a: any) {}"),
        (
            "given",
            "given({ a }: { a: number } = {} as any)",
            "({ a }: { a: number } = {} as any) => a",
        ),
    ],
)
@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_types_are_shown(
    request: pytest.FixtureRequest,
    language: str,
    code: str,
    signature: str,
    source: str,
) -> None:
    """Types, which V8 doesn't see, are shown as they were written."""
    name = "context" if language == "javascript" else "typescript"
    context: LocalContext = request.getfixturevalue(name)
    assert context.run(TYPED).error is None
    shown = plain(context, code, detail=1)
    assert signature in shown.split("\nType: ")[0]
    assert shown.split("\nSource:")[1].strip().startswith(source)


def test_types_of_the_function_that_is_meant(typescript: LocalContext) -> None:
    """Functions that differ in types only are told apart."""
    typescript.run("const make = () => (x: number) => x, first = make()")
    typescript.run("const second = (x: string) => x; function redone(a: 1) {}")
    typescript.run("function redone(a: 2) {}")
    assert plain(typescript, "first").startswith("Signature: first(x: number)")
    assert plain(typescript, "second").startswith("Signature: second(x: string)")
    assert plain(typescript, "redone").startswith("Signature: redone(a: 2)")


def test_what_was_compiled_anew_has_no_blanks(typescript: LocalContext) -> None:
    """Beside an enum the compiler writes all of the cell anew, without types."""
    typescript.run("enum Kind { A } function f(a: Kind, b: string): void {}")
    assert plain(typescript, "f").startswith("Signature: f(a, b)")


def test_source_of_code_made_by_code(context: LocalContext) -> None:
    context.run("var made = new Function('a', 'return a'); var run = eval('(b) => b')")
    assert plain(context, "made").startswith("Signature:\nmade(a\n)")
    assert plain(context, "run").startswith("Signature: run(b)")


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

"""jupyter_kernel_test's suite against one kernel, with the same samples for all.

Expected values are ours: a string's plain text is `'a'` as a console shows it, and
text/plain has no ANSI codes.
"""

from __future__ import annotations

import unittest
import warnings
from typing import TYPE_CHECKING, Any

from jupyter_kernel_test import KernelTests
from tests.bench.peers import PYTHON

if TYPE_CHECKING:
    from tests.bench.peers import Peer
    from tests.bench.session import Sheet

_JAVASCRIPT: dict[str, Any] = {
    "code_hello_world": "console.log('hello, world')",
    "code_stderr": "console.error('oops')",
    "completion_samples": [
        {"text": "Math.ma", "matches": {"max"}},
        {"text": "'abc'.toUp", "matches": {"toUpperCase"}},
    ],
    "complete_code_samples": ["1", "console.log('x')", "function f() { }"],
    "incomplete_code_samples": ["function f() {", "[1, 2,", "`text"],
    "invalid_code_samples": ["let = ;", "a b"],
    "code_generate_error": "throw new TypeError('x')",
    "code_execute_result": [
        {"code": "1 + 2", "result": "3"},
        {"code": "[1, 2]", "result": "[ 1, 2 ]"},
    ],
    "code_inspect_sample": "Math.max",
    "code_history_pattern": "1 [+] 2*",
    "supported_history_operations": ("tail", "range", "search"),
}
_PYTHON: dict[str, Any] = {
    "code_hello_world": "print('hello, world')",
    "code_stderr": "import sys; print('oops', file=sys.stderr)",
    "completion_samples": [{"text": "zi", "matches": {"zip"}}],
    "complete_code_samples": ["1", "print('x')"],
    "incomplete_code_samples": ["def f():", "[1, 2,"],
    "invalid_code_samples": ["x = = 1", "a b"],
    "code_generate_error": "raise TypeError('x')",
    "code_execute_result": [{"code": "1 + 2", "result": "3"}],
    "code_inspect_sample": "zip",
    "code_history_pattern": "1 [+] 2*",
    "supported_history_operations": ("tail", "range", "search"),
}
_SHOWN = ("text/html", "text/markdown", "image/svg+xml")
_DISPLAY = {
    "deno": "await Deno.jupyter.display({{'{mime}': 'x'}}, {{raw: true}})",
    "python3": (
        "from IPython.display import display; "
        "display({{'{mime}': 'x', 'text/plain': ''}}, raw=True)"
    ),
}
_OURS = "display({{'{mime}': 'x'}}, {{raw: true}})"


def conformance(sheet: Sheet, peer: Peer) -> None:
    """Run the suite and count."""
    samples = _PYTHON if peer is PYTHON else _JAVASCRIPT
    display = _DISPLAY.get(peer.spec, _OURS)
    members: dict[str, Any] = {
        **samples,
        "kernel_name": peer.spec,
        "language_name": peer.language,
        "code_clear_output": peer.clear,
        "code_display_data": [
            {"code": display.format(mime=mime), "mime": mime} for mime in _SHOWN
        ],
    }
    case = type("Suite", (KernelTests,), members)
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests.run(result)
    bad = sorted({_name(test) for test, _ in [*result.failures, *result.errors]})
    skipped = sorted({_name(test) for test, _ in result.skipped} - set(bad))
    passed = result.testsRun - len(bad) - len(skipped)
    text = f"{passed} pass"
    if bad:
        text += f", {len(bad)} fail ({', '.join(bad)})"
    if skipped:
        text += f", {len(skipped)} skipped ({', '.join(skipped)})"
    sheet.put("jupyter_kernel_test", peer, text)


def _name(test: Any) -> str:
    whole = str(getattr(test, "test_case", test).id())
    return whole.rpartition(".")[2].removeprefix("test_")

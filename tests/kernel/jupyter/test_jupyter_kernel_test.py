"""jupyter_kernel_test's own suite, every sample filled in, for both kernelspecs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

# As a module: pytest would run the suite's own classes if their names were here.
import jupyter_kernel_test as suite
import pytest
from jupyter_kernel_test.msgspec_v5 import validate_message
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

    from jupyter_client.blocking.client import BlockingKernelClient


@pytest.fixture(autouse=True, scope="module")
def _history(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The suite counts cells in the history, so it gets one of its own."""
    folder: Path = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOKERNEL_HISTORY", str(folder / "history.sqlite"))
        yield


class Samples:
    code_hello_world = "console.log('hello, world')"
    code_stderr = "console.error('oops')"
    completion_samples: ClassVar = [
        {"text": "Math.sqr", "matches": {"sqrt"}},
        {"text": "consol", "matches": {"console"}},
        {"text": "'abc'.toUpp", "matches": {"toUpperCase"}},
    ]
    complete_code_samples: ClassVar = ["1", "console.log('x')", "function f() { }"]
    incomplete_code_samples: ClassVar = ["function f() {", "[1, 2,", "`text"]
    invalid_code_samples: ClassVar = ["let = ;", "1 +* 2", ")"]
    code_generate_error = "throw new TypeError('x')"
    code_execute_result: ClassVar = [
        {"code": "6 * 7", "result": "42"},
        {"code": "'text'", "result": "'text'"},
        {"code": "[1, 2, 3]", "result": "[ 1, 2, 3 ]"},
        {"code": "await Promise.resolve(5)", "result": "5"},
    ]
    code_display_data: ClassVar = [
        {"code": "display.html('<b>bold</b>')", "mime": "text/html"},
        {"code": "display.md('*it*')", "mime": "text/markdown"},
        {"code": "display.svg('<svg/>')", "mime": "image/svg+xml"},
        {"code": "display.json({a: 1})", "mime": "application/json"},
        {"code": "display.latex('x^2')", "mime": "text/latex"},
    ]
    code_inspect_sample = "Math.max"
    code_page_something = "Math.max?"
    code_clear_output = "Jupyter.clearOutput()"
    code_history_pattern = "6 [*] 7*"
    supported_history_operations = ("tail", "range", "search")
    kc: BlockingKernelClient

    def flush_channels(self) -> None:
        """Take what the kernel has sent so far.

        The suite's own way waits on each channel until 0.1 s have been quiet. This one
        asks for something, as its answer is the last that was sent.
        """
        asked = self.kc.kernel_info()
        for receive in (self.kc.get_shell_msg, self.kc.get_iopub_msg):
            last = False
            while not last:
                message = receive(timeout=DEADLINE)
                validate_message(message)
                last = message["parent_header"].get("msg_id") == asked and (
                    message["msg_type"] != "status"
                    or message["content"]["execution_state"] == "idle"
                )


class TestJavaScript(Samples, suite.KernelTests):  # type: ignore[misc]
    kernel_name = "v8-javascript"
    language_name = "javascript"
    file_extension = ".js"


class TestTypeScript(Samples, suite.KernelTests):  # type: ignore[misc]
    kernel_name = "v8-typescript"
    language_name = "typescript"
    file_extension = ".ts"
    code_execute_result: ClassVar = [
        *Samples.code_execute_result,
        {"code": "const n: number = 3; n", "result": "3"},
    ]


class TestJavaScriptWelcome(suite.IopubWelcomeTests):  # type: ignore[misc]
    kernel_name = "v8-javascript"
    support_iopub_welcome = True


class TestTypeScriptWelcome(suite.IopubWelcomeTests):  # type: ignore[misc]
    kernel_name = "v8-typescript"
    support_iopub_welcome = True

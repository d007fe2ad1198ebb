"""MCP's conformance suite against a server of ours, with the entries that it calls.

What fails is compared with the table in CONTRIBUTING.md, in both directions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.support.programs import CONFORMANCE
from tests.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]
NPM: Final = shutil.which("npm")
PACKAGES: Final = ("node@22", "@modelcontextprotocol/conformance@0.2.0-alpha.12")
REVISIONS: Final = ("2025-11-25", "2026-07-28")
INSTALL_SECONDS: Final = 300
RUN_SECONDS: Final = 120
ROW: Final = re.compile(r"\| `([\w-]+)` \| (\d*) ?\| (\d*) ?\| .+ \|")
SUMMARY: Final = re.compile(
    r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed$", re.MULTILINE
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(INSTALL_SECONDS + 2 * RUN_SECONDS),
    pytest.mark.skipif(NPM is None, reason="there is no npm"),
]


def documented(revision: str) -> dict[str, int]:
    """Return how many checks of each scenario CONTRIBUTING.md says to fail."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    counts = {row[1]: row[2 + REVISIONS.index(revision)] for row in ROW.finditer(text)}
    return {name: int(count) for name, count in counts.items() if count}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the suite, and the node that it needs."""
    assert NPM is not None
    folder = tmp_path_factory.mktemp("conformance")
    install = subprocess.run(
        [NPM, "install", "--no-audit", "--no-fund", *PACKAGES],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if install.returncode:
        pytest.skip(f"npm can't install the suite: {install.stderr[-300:]}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(program=(str(CONFORMANCE),))
    yield server
    server.stop()


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_fails_is_documented(
    suite: Path, server: Server, revision: str, tmp_path: Path
) -> None:
    binaries = suite / "node" / "bin"
    program = suite / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    done = subprocess.run(
        [
            *(str(binaries / "node"), str(program), "server"),
            *("--url", f"{server.url}/mcp", "--requirements", revision),
        ],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    found = SUMMARY.findall(done.stdout)
    assert sum(int(passed) for _, passed, _ in found), done.stdout + done.stderr
    failing = {name: int(failed) for name, _, failed in found if int(failed)}
    assert failing == documented(revision)

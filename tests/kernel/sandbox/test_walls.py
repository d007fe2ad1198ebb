"""Each wall of a V8 context by itself: what it refuses that would succeed without it.

What runs here is what JavaScript could do if it had found a way to system calls. Each
attempt is made in a process without walls, with one of them, and with all.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.support.attempts import ATTEMPTS, USER, Outside, denied_calls, refused_of
from tests.support.confined import confined
from tests.support.walls import CALLS, tell

from isokernel.sandbox import SandboxSettings, landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NOTHING: Final = SandboxSettings(seccomp=False, landlock=False, own_user=False)
WALLS: Final = {
    "seccomp": NOTHING._replace(seccomp=True),
    "Landlock": NOTHING._replace(landlock=True),
    "own user": NOTHING._replace(own_user=True),
}
KINDS: Final = {"root": None, "user": USER}

pytestmark = pytest.mark.skipif(
    not seccomp.supported() or not landlock.version(), reason="not all walls are here"
)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    if (os.geteuid() == 0) != (kind == "root") and os.geteuid() != 0:
        pytest.skip("wants root")
    return kind


@pytest.fixture(scope="module")
def outside(kind: str) -> Iterator[Outside]:
    user = KINDS[kind] if os.geteuid() == 0 else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        for name in ("file", "other"):
            (folder / name).write_text("secret")
            (folder / name).chmod(0o666)
            if user is not None:
                os.chown(folder / name, user, user)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        left = stack.enter_context(socket.socket())
        victim = subprocess.Popen(["/bin/sleep", "600"], user=user)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        yield Outside(folder, victim.pid, server.getsockname()[1], left)


def _refused(
    names: Iterable[str], outside: Outside, settings: SandboxSettings, user: int | None
) -> list[str]:
    """Which of the attempts are refused, all made in one process."""
    refused: list[str] = confined(
        lambda: refused_of(names, outside), settings, user=user
    )
    return refused


def _denied(settings: SandboxSettings, user: int | None) -> list[str]:
    """Which of the calls are denied."""
    denied: list[str] = confined(denied_calls, settings, user=user)
    return denied


@pytest.fixture(scope="module")
def refused(kind: str, outside: Outside) -> list[str]:
    return _refused(ATTEMPTS, outside, SandboxSettings(), KINDS[kind])


@pytest.fixture
def restored(outside: Outside) -> Iterator[None]:
    """Put back what an attempt that isn't refused has changed."""
    yield
    for name in ("made", "link", "s", "pipe", "renamed"):
        with suppress(OSError):
            (outside.folder / name).unlink()
    with suppress(OSError):
        (outside.folder / "folder").rmdir()
    for name in ("file", "other"):
        (outside.folder / name).write_text("secret")
        (outside.folder / name).chmod(0o666)


@pytest.fixture
def told(
    kind: str,
    outside: Outside,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> Callable[[str], None]:
    """Tells which walls refuse an attempt, each by itself, if that is asked for."""

    def told(name: str) -> None:
        if not pytestconfig.getoption("walls"):
            return
        user, walls = KINDS[kind], ["the system itself"]
        if not _refused([name], outside, NOTHING, user):
            walls = [
                wall
                for wall, settings in WALLS.items()
                if _refused([name], outside, settings, user)
            ]
        if len(walls) == 1:
            walls.append(f"only {walls[0]}")
        tell(record_property, f"V8, {kind}", walls)

    return told


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ATTEMPTS)
def test_each_attempt_is_refused(
    name: str, refused: list[str], told: Callable[[str], None]
) -> None:
    told(name)
    assert name in refused


@pytest.fixture(scope="module")
def denied(kind: str) -> list[set[str]]:
    settings = (SandboxSettings(), WALLS["seccomp"])
    return [set(_denied(each, KINDS[kind])) for each in settings]


@pytest.mark.parametrize("name", CALLS)
def test_calls_into_the_kernel_are_denied(
    name: str,
    kind: str,
    denied: list[set[str]],
    record_property: Callable[[str, object], None],
) -> None:
    """Without the filter, some of these would change the machine."""
    assert all(name in each for each in denied)
    tell(record_property, f"V8, {kind}", ["seccomp"])

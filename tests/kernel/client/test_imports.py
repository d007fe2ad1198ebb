"""What importing the client loads, and what type checkers see of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import isokernel
from isokernel import client

LOADED = (
    "import json, sys; import isokernel.client; print(json.dumps(list(sys.modules)))"
)


def test_it_loads_no_engine_no_server_and_no_http() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    own = {name for name in loaded if name.split(".")[0] in {"isokernel", "isoserver"}}
    assert {name for name in own if not name.startswith("isokernel.client")} == {
        "isokernel",
        "isokernel._version",
    }
    for heavy in ("httpx", "anyio", "asyncio", "ctypes", "pydantic", "tornado", "ssl"):
        assert heavy not in loaded, heavy


def test_every_name_is_there() -> None:
    for name in client.__all__:
        assert getattr(client, name)
    assert not hasattr(client, "nothing")


def test_types_are_for_users_too() -> None:
    assert (Path(isokernel.__file__ or "").parent / "py.typed").exists()

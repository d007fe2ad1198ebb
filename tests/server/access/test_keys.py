"""API keys: settings, what a key opens, and guesses."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.client import CLIENT
from tests.support.server import START, Server
from tests.support.waiting import DEADLINE

from isoserver.cli.serve import load
from isoserver.contexts.languages import ALIASES
from isoserver.errors import InvalidSettingsError
from isoserver.settings.access import CONFINED
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx
    from tests.support.client import Client

RED, BLUE, OPS = (f"the-secret-key-of-{name}" for name in ("red", "blue", "ops"))
FILE = """
languages = ["javascript"]
default_language = "javascript"
api_key = ["the-secret-key-of-all"]
failure_rate_per_minute = 5

[[workspaces]]
name = "red"
request_rate_per_minute = 0
api_keys = [
    { key = "the-secret-key-of-red", client = "ci" },
    { env = "OPS_KEY", client = "ops", admin = true },
]

[[workspaces]]
name = "blue"
request_rate_per_minute = 3
api_keys = [{ file = "BLUE" }]
"""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workspaces, which runs nothing."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "blue").write_text(f"{BLUE}\n")
    file = folder / "isokernel.toml"
    file.write_text(FILE.replace("BLUE", str(folder / "blue")))
    server = Server("--config", str(file), env={"OPS_KEY": OPS})
    yield server
    assert server.stop() == 0
    assert "the-secret" not in server.said


def _get(server: Server, path: str, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return CLIENT.get(server.url + path, headers=names)


def test_a_key_opens_its_workspace_and_no_other(keyed: Server) -> None:
    for key, mine in ((RED, "red"), (OPS, "red"), ("the-secret-key-of-all", "default")):
        for asked in ("red", "blue", "default", "nobody", "", "RED"):
            status = 200 if asked == mine else 403
            answer = _get(keyed, "/contexts", X_API_Key=key, X_Workspace_Id=asked)
            assert answer.status_code == status, (mine, asked)
            path = f"/contexts?workspaceId={asked or '%00'}"
            answer = _get(keyed, path, Authorization=f"Bearer {key}")
            assert answer.status_code == status, (mine, asked)
        other = _get(keyed, "/contexts", X_API_Key=key, X_Workspace_Id="blue").json()
        none = _get(keyed, "/contexts", X_API_Key=key, X_Workspace_Id="none").json()
        assert other == none


def test_figures_are_for_who_runs_the_server(keyed: Server) -> None:
    for key in (RED, OPS):  # they are of all workspaces
        refused = _get(keyed, "/metrics", X_API_Key=key)
        assert refused.status_code == 403
        assert "administrator" in refused.json()["message"]
        assert "WWW-Authenticate" not in refused.headers
    figures = _get(keyed, "/metrics", X_API_Key="the-secret-key-of-all")
    assert figures.status_code == 200
    assert 'isokernel_refusals_total{reason="admin"}' in figures.text
    assert "the-secret" not in figures.text


def test_requests_have_a_rate_where_the_workspace_has_one(keyed: Server) -> None:
    answers = [_get(keyed, "/languages", X_API_Key=BLUE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    wait = answers[-1].headers["Retry-After"]
    message = f"too many requests: try again in {wait} s"
    assert answers[-1].json() == {"message": message}
    for _ in range(5):
        assert _get(keyed, "/languages", X_API_Key=RED).status_code == 200


def test_guesses_are_slowed_down(servers: Callable[..., Server]) -> None:
    flags = ("--api-key", "the-secret-key", "--languages", "python")
    server = servers(*flags, "--failure-rate-per-minute", "5")
    assert [_get(server, "/contexts").status_code for _ in range(9)] == [401] * 9
    guesses = [_get(server, "/contexts", X_API_Key=f"guess{n}") for n in range(7)]
    assert [answer.status_code for answer in guesses] == [401] * 5 + [429] * 2
    assert int(guesses[-1].headers["Retry-After"]) <= 12
    # The right one too: else an answer would tell which one it is.
    assert _get(server, "/contexts", X_API_Key="the-secret-key").status_code == 429
    assert _get(server, "/healthz").status_code == 200


KERNELS = """
[[workspaces]]
name = "a"
api_keys = [{ key = "the-secret-0123456" }]
[[workspaces]]
name = "b"
api_keys = [{ key = "the-secret-1234567" }]
"""


def test_kernels_without_a_container_are_not_for_several_workspaces(
    tmp_path: Path,
) -> None:
    file = tmp_path / "isokernel.toml"
    for text in (KERNELS, "oauth_workspace_claim = 'w'"):
        file.write_text(text)
        load(["--config", str(file)])  # they have containers
        given = ["--config", str(file), "--no-sandbox"]
        for languages in ([], ["--languages", "javascript,bash"]):
            with pytest.raises(InvalidSettingsError, match="--insecure-kernels"):
                load([*given, *languages])
        assert load([*given, "--insecure-kernels"]).insecure_kernels
        load([*given, "--languages", "javascript,ts", "--default-language", "js"])
    load(["--api-key", "one"])


def test_confined_languages_are_those_of_v8() -> None:
    of_v8 = {name for name, known in ALIASES.items() if known.engine == "v8"}
    assert of_v8 == CONFINED


WRONG: dict[str, tuple[str, str]] = {
    "no name": ("[[workspaces]]", "workspaces.0.name"),
    "odd name": ("[[workspaces]]\nname = 'a/b'", "workspaces.0.name"),
    "unknown": ("[[workspaces]]\nname = 'a'\nkey = 'x'", "workspaces.0.key"),
    "twice": (
        "[[workspaces]]\nname = 'a'\n[[workspaces]]\nname = 'a'",
        "two workspaces",
    ),
    "no key": ("[[workspaces]]\nname = 'a'\napi_keys = [{}]", "one of key, env"),
    "two ways": (
        "[[workspaces]]\nname = 'a'\napi_keys = [{ env = 'A', file = 'B' }]",
        "one of key, env",
    ),
    "short": ("[[workspaces]]\nname = 'a'\napi_keys = [{ key = 'the-secret' }]", "16"),
    "spaces": (
        "[[workspaces]]\nname = 'a'\napi_keys = [{ key = 'the-secret 0123456789' }]",
        "no spaces",
    ),
    "no variable": (
        "[[workspaces]]\nname = 'a'\napi_keys = [{ env = 'NO_SUCH_VARIABLE' }]",
        "NO_SUCH_VARIABLE is not set",
    ),
    "no file": (
        "[[workspaces]]\nname = 'a'\napi_keys = [{ file = '/no/such/file' }]",
        "can't be read: No such file",
    ),
    "one key for two": (
        "api_key = ['the-secret-0123456']\n[[workspaces]]\nname = 'a'\n"
        "api_keys = [{ key = 'the-secret-0123456' }]",
        "given twice",
    ),
    "no audience": ("oauth_issuer = 'https://a.example'", "oauth-audience"),
    "no issuer": ("oauth_audience = ['a']", "need --oauth-issuer"),
    "plain http": ("oauth_issuer = 'http://a.example'", "https"),
    "user": ("oauth_issuer = 'https://the-secret:x@a.example'", "without a user"),
    "a secret algorithm": ("oauth_algorithms = ['HS256']", "HS256 is none of"),
    "no algorithm": ("oauth_algorithms = ['none']", "none is none of"),
    "odd scope": ("oauth_admin_scope = 'a\"b'", "oauth_admin_scope"),
}


def test_wrong_settings_are_said_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "isokernel.toml"
    for case, (text, words) in WRONG.items():
        file.write_text(f"languages = ['js']\n{text}")
        with pytest.raises(InvalidSettingsError) as caught:
            load(["--config", str(file)])
        assert words in str(caught.value), case
        assert "the-secret" not in str(caught.value), case


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "isokernel.toml"
    (tmp_path / "blue").write_text(f"{BLUE}\n")
    file.write_text(FILE.replace("BLUE", str(tmp_path / "blue")))
    monkeypatch.setenv("OPS_KEY", OPS)
    settings = load(["--config", str(file)])
    assert [key.secret for key in settings.workspaces[0].api_keys] == [RED, OPS]
    shown = f"{settings!r} {settings} {settings.workspaces!r} {settings.workspaces[0]}"
    assert "the-secret" not in shown
    assert "'red'" in shown


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "box.example"])  # noqa: S104
def test_an_open_server_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(InvalidSettingsError, match="--insecure-no-auth"):
        load(["--host", host])
    assert load(["--host", host, "--api-key", "k"]).guarded
    assert not load(["--host", host, "--insecure-no-auth"]).guarded
    issuer = ("--oauth-issuer", "https://a.example", "--oauth-audience", "b")
    assert load(["--host", host, *issuer]).guarded


def test_no_address_is_every_address() -> None:
    with pytest.raises(InvalidSettingsError, match="any address of this host"):
        read_settings(host="")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    assert not load(["--host", host]).guarded


def test_a_refusal_to_start_names_the_ways_out() -> None:
    said = subprocess.run(
        [sys.executable, "-c", START, "serve", "--host", "0.0.0.0"],  # noqa: S104
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert said.returncode == 2
    for words in (
        "--api-key",
        "[[workspaces]]",
        "--oauth-issuer",
        "--insecure-no-auth",
    ):
        assert words in said.stderr
    assert said.stderr.startswith("isokernel: anyone who can reach 0.0.0.0")


def test_an_open_server_has_one_workspace(client: Client) -> None:
    for name, status in (("default", 200), ("other", 403)):
        answer = client.get("/contexts", headers={"X-Workspace-Id": name})
        assert answer.status_code == status
        answer = client.get("/contexts", params={"workspaceId": name})
        assert answer.status_code == status
    place = "/.well-known/oauth-protected-resource"
    assert client.get(place).status_code == 404
    assert client.get(f"{place}/mcp").status_code == 404

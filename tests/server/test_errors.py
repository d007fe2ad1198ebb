"""The error tree, and how errors look over HTTP."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import os
import re
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.server import MIB, START
from tests.support.waiting import wait_for

from isoserver import errors
from isoserver.mcp.tools import explain
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"


def _errors() -> list[type[errors.ServerError]]:
    return [
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if item.__module__ == errors.__name__ and issubclass(item, errors.ServerError)
    ]


def _drawn() -> dict[str, set[str]]:
    """The tree of the docstring: each error, and what it derives from."""
    found = {"ServerError": {"Exception"}}
    path = ["ServerError"]
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.match(r"    ([│├└─ ]+)(\w+) *(?:\((\w+)\))?", line):
            path = [*path[: len(drawn[1]) // 4], drawn[2]]
            found[drawn[2]] = {path[-2], *([drawn[3]] if drawn[3] else [])}
    return found


def test_the_tree_of_the_docstring_is_that_of_the_classes() -> None:
    assert _drawn() == {
        error.__name__: {base.__name__ for base in error.__bases__}
        for error in _errors()
    }


def test_every_error_without_kinds_of_its_own_has_a_status() -> None:
    for error in _errors():
        if not error.__subclasses__():
            assert error.http_status != HTTPStatus.INTERNAL_SERVER_ERROR, error
        assert error.http_status >= HTTPStatus.BAD_REQUEST


def test_all_reasons_of_503_are_in_the_documents() -> None:
    """But for those of a server that can't start, and of none of its own."""
    never = {
        *(errors.ClusterError, errors.InvalidSettingsError, errors.LanguageError),
        *(errors.RayError, errors.TakenError),
    }
    told = re.findall(r"^\| (`.+`) \| (\d*) ?\| ", DOCUMENT.read_text(), re.MULTILINE)
    reasons = {
        error.code: str(error.retry_after or "")
        for error in _errors()
        if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE and error not in never
    }
    assert reasons == {
        code: seconds
        for names, seconds in told
        for code in re.findall(r"`(\w+)`", names)
        if code in reasons
    }


def test_limits_name_the_settings_that_set_them() -> None:
    for error in errors.LimitError.__subclasses__():
        for name in error.setting.split(" and ") if error.setting else ():
            assert name in ServerSettings.fields, error


def test_errors_have_one_root_and_one_suffix() -> None:
    for error in _errors():
        assert issubclass(error, errors.ServerError)
        assert error.__name__.endswith("Error")
        assert error.__doc__
    codes = [error.code for error in _errors()]
    assert len(set(codes)) == len(codes)


def test_a_new_error_needs_nothing_but_its_class() -> None:
    class ContextTiredError(errors.ContextError):
        """The context is tired."""

        advice = "Let it rest."

    error = ContextTiredError("it is tired")
    assert (error.code, error.http_status) == ("context_tired", HTTPStatus.CONFLICT)
    assert explain(error) == "It is tired. Let it rest."
    names = {each.__name__ for each in _errors()}
    for path in Path(errors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                keys = {key.id for key in node.keys if isinstance(key, ast.Name)}
                assert not keys & names, f"{path} has a table of errors"


def _invalid(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["message"] == "Invalid request"
    assert set(body) == {"message", "errors"}
    return {error["field"]: error["error"] for error in body["errors"]}


@pytest.mark.parametrize("path", ["/execute", "/execute/async"])
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"code"}),
        ({"code": ""}, {"code"}),
        ({"code": 1}, {"code"}),
        ({"code": "1", "timeout_ms": 0}, {"timeout_ms"}),
        ({"code": "1", "timeout_ms": "30"}, {"timeout_ms"}),
        ({"code": "1", "language": "cobol"}, {"language"}),
        ({"code": "1", "context_id": 5}, {"context_id"}),
        ({"code": "1", "unknown": 5, "other": 6}, {"unknown", "other"}),
        ([], {"body"}),
    ],
)
def test_wrong_fields_are_named(
    client: Client, path: str, body: Any, fields: set[str]
) -> None:
    assert set(_invalid(client.post(path, json=body))) == fields


def test_wrong_environments_are_named(client: Client) -> None:
    for env in ({"a=b": "1"}, {"": "1"}, {"a": "\0"}, {"a": 1}, "a"):
        fields = _invalid(client.post("/execute", json={"code": "1", "env_vars": env}))
        assert all(field.startswith("env_vars") for field in fields)


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"code": "\\ud800"}'])
def test_malformed_json_is_invalid(client: Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert _invalid(client.post("/execute", content=body, headers=headers))


def test_another_content_type_is_invalid(client: Client) -> None:
    answer = client.post("/execute", content=b'{"code": "1"}')
    assert set(_invalid(answer)) == {"Content-Type"}


def test_a_large_body_is_refused(client: Client) -> None:
    answer = client.post("/execute", json={"code": "1" * (11 << 20)})
    assert answer.status_code == 413
    assert answer.json() == {"message": "the body is larger than 10485760 bytes"}
    assert client.get("/healthz").status_code == 200


def test_large_headers_are_refused(client: Client) -> None:
    answer = client.post(
        "/execute", json={"code": "1"}, headers={"X-Long": "x" * 70_000}
    )
    assert answer.headers["X-Error-Code"] == "headers_too_large"
    assert answer.status_code == 431
    assert answer.headers["Connection"] == "close"
    assert answer.json() == {"message": "the headers are larger than 65536 bytes"}
    long = client.get(
        "/healthz", params={"x": "y" * 40_000}, headers={"X-Long": "x" * 30_000}
    )
    assert long.status_code == 431
    assert client.get("/healthz").status_code == 200


CHUNKED = (
    b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _answer(connection: socket.socket) -> tuple[int, Any]:
    answer = HTTPResponse(connection)
    answer.begin()
    assert answer.getheader("Content-Type") == "application/json"
    return answer.status, json.loads(answer.read())


TOO_LARGE = (413, {"message": "the body is larger than 10485760 bytes"})


def test_a_large_body_of_unknown_size_is_refused(server: Server) -> None:
    """It has no Content-Length: how large it is shows when it has come."""
    piece = _chunk(b" " * MIB)
    with server.connection() as connection:
        connection.sendall(CHUNKED + piece * 11 + _chunk(b""))
        assert _answer(connection) == TOO_LARGE
        # It has read all of it, so the connection can be used again.
        body = b'{"code": "1 + 1", "language": "js"}'
        small = b"".join(_chunk(body[at : at + 7]) for at in range(0, len(body), 7))
        connection.sendall(CHUNKED + small + _chunk(b""))
        status, content = _answer(connection)
        assert (status, content["items"][0]["text"]) == (200, "2")


def test_a_body_without_end_is_cut_off(server: Server) -> None:
    with server.connection() as connection:
        connection.sendall(CHUNKED + _chunk(b" " * (40 * MIB)) + b"1\r\n ")
        assert _answer(connection) == TOO_LARGE
        assert connection.recv(1) == b""


HASTY = (
    "from isoserver.http import application; application._BODY_SECONDS = 0.2; " + START
)
HEAD = (
    b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 36\r\n\r\n"
)
BODY = b'{"code": "1 + 1", "language": "js" }'


def test_a_body_that_stays_away_is_not_waited_for(
    servers: Callable[..., Server],
) -> None:
    server = servers(program=("-c", HASTY))
    with server.connection() as connection:
        connection.sendall(HEAD + BODY[:20])
        assert connection.recv(1) == b""
    with server.connection() as connection:
        for pieces in ((HEAD + BODY,), (HEAD, BODY), (HEAD + BODY[:20], BODY[20:])):
            for piece in pieces:
                connection.sendall(piece)
            status, content = _answer(connection)
            assert (status, content["items"][0]["text"]) == (200, "2")


def test_missing_paths_and_methods_are_json(client: Client) -> None:
    missing = client.get("/nothing")
    assert (missing.status_code, missing.json()) == (404, {"message": "Not found"})
    method = client.put("/execute")
    assert method.status_code == 405
    assert method.json() == {"message": "Method not allowed"}
    assert method.headers["Allow"] == "POST"
    assert client.request("OPTIONS", "/execute").status_code == 405
    assert client.request("BREW", "/execute").status_code == 405


def test_errors_have_their_names(client: Client) -> None:
    for path, name in (
        ("/nothing", "route_missing"),
        ("/contexts/nobody", "context_missing"),
        ("/api/heaps/x", "invalid_request"),
    ):
        assert client.get(path).headers["X-Error-Code"] == name
    assert "X-Error-Code" not in client.get("/contexts").headers


def test_query_arguments_are_checked(client: Client) -> None:
    answer = client.post("/execute?on_disconnect=explode", json={"code": "1"})
    assert set(_invalid(answer)) == {"on_disconnect"}


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: "
        + b"x" * 1_000_000
        + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_harms_nothing(
    server: Server, client: Client, sent: bytes
) -> None:
    answer = b""
    # What is too long is cut off while some of it is still on its way.
    with server.connection() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(sent)
        answer = connection.recv(1000)
    assert b" 200 " not in answer
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_log_has_a_missing_path_and_the_size_of_the_answer(
    server: Server, client: Client
) -> None:
    """Also where the path is of no route, so that it is known what was asked."""
    path = f"/nowhere/{os.urandom(8).hex()}"
    answer = client.get(path)
    assert answer.status_code == 404
    line = wait_for(
        lambda: next((row for row in server.log().splitlines() if path in row), None)
    )
    entry = json.loads(line)
    assert entry["path"] == path
    assert entry["size"] == len(answer.content) > 0
    assert (entry["method"], entry["status"]) == ("GET", 404)

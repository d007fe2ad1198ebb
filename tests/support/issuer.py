"""A real authorization server on loopback: its metadata, its keys, and its tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from tests.support.waiting import DEADLINE
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

AUDIENCE = "https://isokernel.example/mcp"


def make_key(algorithm: str) -> Any:
    """A private key for an algorithm."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: Any) -> bytes:
    """The public half of a key, as text that anybody may have."""
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


class Issuer:
    """An authorization server, in a thread of its own.

    Attributes:
        url: Its identifier.
        keys: Private keys by id, with their algorithms.
        document: The key set that it gives, unless it is made of the keys.
        down: Whether it answers 503.
        silent: Whether it doesn't answer at all.
        asked: Paths that were asked for.
    """

    def __init__(self, path: str = "") -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.document: Any = None
        self.metadata: dict[str, Any] = {}
        self.down = False
        self.silent = False
        self.asked: list[str] = []
        self._path = path
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(DEADLINE)

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        sockets = bind_sockets(0, "127.0.0.1")
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}{self._path}"
        handler = type("Answers", (_Answers,), {"issuer": self})
        self._http = HTTPServer(
            Application([(r"/.*", handler)], log_function=lambda _: None)
        )
        self._http.add_sockets(sockets)
        self._ready.set()
        await self._stopped.wait()
        self._http.stop()
        await self._http.close_all_connections()

    def stop(self) -> None:
        """Stop it."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(DEADLINE)

    def at_rest(self) -> bool:
        """Whether nobody is connected."""
        return not self._http._connections

    def add(self, key_id: str, algorithm: str = "RS256") -> Any:
        """Make a key that it signs with; the private half."""
        key = make_key(algorithm)
        self.keys[key_id] = (algorithm, key)
        return key

    def key_set(self) -> dict[str, Any]:
        """Its keys, as it publishes them."""
        return {
            "keys": [
                {
                    **get_default_algorithms()[algorithm].to_jwk(
                        key.public_key(), as_dict=True
                    ),
                    "kid": key_id,
                    "alg": algorithm,
                    "use": "sig",
                }
                for key_id, (algorithm, key) in self.keys.items()
            ]
        }

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Claims of a good token, changed; None leaves one out."""
        now = time.time()
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "somebody",
            "workspace": "red",
            "iat": int(now),
            "exp": int(now) + 600,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        key_id: str = "first",
        header: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """A token with the claims changed, signed with one of its keys."""
        algorithm, key = self.keys[key_id]
        full = {"alg": algorithm, "typ": "JWT", "kid": key_id, **(header or {})}
        text = f"{part(full)}.{part(self.claims(**changed))}"
        signature = get_default_algorithms()[algorithm].sign(text.encode(), key)
        return f"{text}.{part(signature)}"


def part(value: Any) -> str:
    """One of a token's three parts: bytes, or what becomes JSON."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


class _Answers(RequestHandler):
    issuer: Issuer

    async def get(self) -> None:
        issuer = self.issuer
        issuer.asked.append(self.request.path)
        if issuer.silent:
            await issuer._stopped.wait()
        if issuer.down:
            self.set_status(503)
            return
        path = self.request.path
        if path == f"{issuer._path}/keys":
            self.finish(issuer.document or issuer.key_set())
        elif path == f"/.well-known/oauth-authorization-server{issuer._path}":
            keys = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
            self.finish(keys | issuer.metadata)
        else:
            self.set_status(404)


def trust(issuer: Issuer, *flags: str) -> tuple[str, ...]:
    """Flags of a server that takes an issuer's tokens."""
    return (
        *("--oauth-issuer", issuer.url, "--oauth-audience", AUDIENCE),
        *("--languages", "javascript", "--oauth-workspace-claim", "workspace"),
        *("--default-language", "javascript", *flags),
    )

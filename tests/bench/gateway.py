"""Kernels over HTTP by jupyter_kernel_gateway: what contexts are compared with.

The gateway sends the messages of one cell as many small frames and leaves Nagle's
algorithm on, so the second one waits until the client has acknowledged the first, which
Linux puts off by 40 ms. That is the transport's time, not the kernel's, so this client
acknowledges at once (TCP_QUICKACK). The gateway is unmodified; with another client
`1+1` takes 40 ms more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 60.0


def available() -> bool:
    """Whether this environment has the gateway."""
    return find_spec("kernel_gateway") is not None


@contextlib.contextmanager
def gateway() -> Iterator[tuple[str, int]]:
    """A gateway in a process of its own: its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "kernel_gateway", "--KernelGatewayApp.ip=127.0.0.1"),
        *(f"--KernelGatewayApp.port={port}", "--KernelGatewayApp.port_retries=0"),
        "--log-level=ERROR",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            end = time.monotonic() + START_SECONDS
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                assert time.monotonic() < end, "the gateway did not start"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait()


class Kernel:
    """A kernel of the gateway, over one websocket."""

    def __init__(self, url: str, kernel_id: str, channels: Any) -> None:
        self._url = url
        self._id = kernel_id
        self._channels = channels
        self._session = uuid.uuid4().hex
        self._socket: socket.socket = channels.protocol.stream.socket

    def _acknowledge(self) -> None:
        """Acknowledge what has come and what comes next; Linux forgets it soon."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    @classmethod
    async def start(cls, url: str, spec: str) -> Kernel:
        """Start one."""
        answer = await AsyncHTTPClient().fetch(
            f"{url}/api/kernels",
            method="POST",
            body=json.dumps({"name": spec}),
            request_timeout=START_SECONDS,
        )
        kernel_id = json.loads(answer.body)["id"]
        path = f"{url.replace('http', 'ws')}/api/kernels/{kernel_id}/channels"
        return cls(url, kernel_id, await websocket_connect(path))

    async def run(self, code: str) -> str:
        """Run a cell; its result as text, once it, reply and idle have come.

        Deno's result may come after idle: who counts only to idle may miss it.
        """
        number = uuid.uuid4().hex
        header = {
            "msg_id": number,
            "msg_type": "execute_request",
            "version": "5.3",
            "username": "",
            "session": self._session,
            "date": "",
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
            "buffers": [],
        }
        await self._channels.write_message(json.dumps(message))
        self._acknowledge()
        text, waiting = "", {"execute_reply", "idle", "execute_result"}
        while waiting:
            said = await asyncio.wait_for(self._channels.read_message(), START_SECONDS)
            self._acknowledge()
            answer = json.loads(said)
            if (answer.get("parent_header") or {}).get("msg_id") != number:
                continue
            waiting.discard(answer["msg_type"])
            assert answer["msg_type"] != "error", answer["content"]
            waiting.discard(answer["content"].get("execution_state", ""))
            if answer["msg_type"] == "execute_result":
                text = answer["content"]["data"]["text/plain"]
        return text

    async def delete(self) -> None:
        """End it."""
        self._channels.close()
        await AsyncHTTPClient().fetch(
            f"{self._url}/api/kernels/{self._id}",
            method="DELETE",
            request_timeout=START_SECONDS,
        )

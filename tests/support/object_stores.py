"""A store of objects that speaks S3: moto's, in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import suppress

import httpx
from tests.support.client import CLIENT
from tests.support.waiting import wait_for

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_BUCKET = "heaps"


class ObjectStore:
    """One with a bucket, for as long as it runs.

    Attributes:
        url: Of a folder in the bucket.
        environment: The variables that lead to it.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        """Start it where this thread is; `wait` waits for it."""
        with socket.create_server((address, 0)) as sock:
            port = sock.getsockname()[1]
        self._endpoint = f"http://{address}:{port}"
        self.url = f"s3://{_BUCKET}/in/here"
        self.environment = {**_CREDENTIALS, "AWS_ENDPOINT_URL": self._endpoint}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Wait until it answers, and has the bucket."""
        wait_for(self._make_bucket)

    def _make_bucket(self) -> bool:
        with suppress(httpx.TransportError):
            return CLIENT.put(f"{self._endpoint}/{_BUCKET}").status_code == 200
        return False

    def pause(self) -> None:
        """Have it answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and forget what it has."""
        self.go_on()
        self._process.terminate()
        self._process.wait()

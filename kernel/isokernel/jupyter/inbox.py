"""Requests that have arrived on shell and wait to be served, in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import zmq

from isokernel.errors import MessageError
from isokernel.jupyter import log

if TYPE_CHECKING:
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.wire import Message

__all__ = ["Inbox"]


class Inbox:
    """The V8 thread's end of the shell channel.

    Messages are taken from the socket only when the earlier ones have been served, so
    that the rest waits in ZMQ, which has a bound and makes the sender wait.
    """

    def __init__(self, channels: Channels) -> None:
        """Read from the shell channel."""
        self._channels = channels
        self._waiting: deque[Message] = deque()

    def fill(self) -> None:
        """Take in everything that has arrived. What isn't a message is logged."""
        shell = self._channels.shell
        while True:
            try:
                frames = shell.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._waiting.append(self._channels.session.unpack(frames))
            except MessageError as error:
                log.warning(f"dropped a message on shell: {error}")

    def next(self) -> Message | None:
        """Take out the oldest."""
        return self._waiting.popleft() if self._waiting else None

    def take(self, kind: str) -> list[Message]:
        """Take out all of a kind, the others stay."""
        taken = [message for message in self._waiting if message.kind == kind]
        self._waiting = deque(m for m in self._waiting if m.kind != kind)
        return taken

"""prompt(): JavaScript asks, the user answers, and V8's thread waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from isokernel.errors import (
    InputInterruptedError,
    InputUnavailableError,
    MessageError,
)
from isokernel.jupyter import log
from isokernel.jupyter.wire import sent_id

if TYPE_CHECKING:
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.wire import Message

__all__ = ["Inputs"]


class Inputs:
    """Asks the front end that sent the running cell. Of the V8 thread.

    Attributes:
        request: The running cell when its front end can ask its user, else None.
        wakeups: Descriptors that become readable when waiting must end: the context's
            own, which an interrupt sets off, and the kernel's, for a shutdown.
    """

    def __init__(self, channels: Channels) -> None:
        """Ask over the stdin channel."""
        self._channels = channels
        self.request: Message | None = None
        self.wakeups: list[int] = []

    def __call__(self, prompt: str, password: bool) -> str:  # noqa: FBT001 - contract
        """Ask and wait. Called by the context, in the middle of JavaScript.

        Raises:
            InputUnavailableError: No cell is running, or its sender can't ask.
            InputInterruptedError: The user interrupted, or the kernel is to stop.
        """
        request = self.request
        if request is None:
            message = "the front end doesn't take input for this cell"
            raise InputUnavailableError(message)
        self._discard()
        question = self._channels.session.pack(
            "input_request",
            {"prompt": prompt, "password": password},
            parent=request.header_frame,
            route=request.identities,
        )
        self._channels.stdin.send_multipart(question)
        return self._answer(sent_id(question))

    def _answer(self, question: str) -> str:
        poller = zmq.Poller()
        poller.register(self._channels.stdin, zmq.POLLIN)
        for descriptor in self.wakeups:
            poller.register(descriptor, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if any(descriptor in ready for descriptor in self.wakeups):
                raise InputInterruptedError
            try:
                frames = self._channels.stdin.recv_multipart()
                reply = self._channels.session.unpack(frames)
            except MessageError as error:
                log.warning(f"dropped a message on stdin: {error}")
                continue
            value = reply.content.get("value")
            if _answers(reply, question) and isinstance(value, str):
                return value
            log.warning(f"dropped a {reply.kind} on stdin")

    def _discard(self) -> None:
        """Drop answers to questions that were given up."""
        while int(self._channels.stdin.get(zmq.EVENTS)) & zmq.POLLIN:
            self._channels.stdin.recv_multipart()


def _answers(reply: Message, question: str) -> bool:
    """Tell whether a message answers this question.

    Not every front end says what it answers; one that does may be late with the answer
    to an earlier question, which was interrupted.
    """
    asked = reply.parent_header
    if asked.get("msg_type") == "input_request" and asked.get("msg_id") != question:
        return False
    return reply.kind == "input_reply"

"""Everything but cells that comes in on `work`: served at once, also amid an await."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import IsokernelError, MessageError
from isokernel.protocol import answers
from isokernel.protocol.messages import error_reply_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.protocol.frames import Frame
    from isokernel.worker.channel import Channel

__all__ = ["Requests", "reply_type"]

_ANSWERS: Final[dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]]] = {
    "complete_request": answers.complete,
    "inspect_request": answers.inspect,
    "is_complete_request": answers.is_complete,
    "comm_info_request": answers.comm_info,
    "names_request": lambda context, _content: answers.names(context),
}


def reply_type(request: str) -> str:
    """Name the reply to a request."""
    return f"{request.removesuffix('_request')}_reply"


class Requests:
    """Answers from a context. On the V8 thread."""

    def __init__(self, context: Context, channel: Channel) -> None:
        """Answer on `channel`."""
        self._context = context
        self._channel = channel

    def serve(self, request: Frame) -> None:
        """Answer a request, or take in a message that has no answer."""
        try:
            answer = self._answer(request)
        except IsokernelError as error:
            self.refuse(request, error)
        except Exception as error:  # noqa: BLE001 -- one request must not end the rest
            self.refuse(request, error)
        else:
            if answer is not None:
                self._channel.send(reply_type(request.type), answer, request.id or 0)

    def refuse(self, request: Frame, error: Exception) -> None:
        """Tell who asked that it can't be served."""
        content = error_reply_content(type(error).__name__, str(error))
        if request.type == "is_complete_request":
            content = {"status": "unknown"}
        self._channel.send(reply_type(request.type), content, request.id or 0)

    def _answer(self, request: Frame) -> dict[str, Any] | None:
        answer = _ANSWERS.get(request.type)
        if answer is not None:
            return answer(self._context, request.content)
        if request.type == "comm_open":
            refusal = answers.comm_open(
                self._context, request.content, request.metadata, request.buffers
            )
            if refusal is not None:
                self._channel.send("comm_close", refusal, request.id or 0)
        elif request.type == "comm_msg":
            answers.comm_message(
                self._context, request.content, request.metadata, request.buffers
            )
        elif request.type == "comm_close":
            answers.comm_close(self._context, request.content, request.metadata)
        elif request.type == "tool_result":
            answers.tool_result(self._context, request.content)
        elif request.type == "pause_request":
            answers.pause(self._context, request.content)
        else:
            message = f"a context doesn't know {request.type}"
            raise MessageError(message)
        return None

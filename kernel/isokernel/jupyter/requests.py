"""Requests on shell that aren't cells: answered at once, also while a cell awaits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isokernel.errors import IsokernelError, MessageError
from isokernel.jupyter import log
from isokernel.protocol import answers
from isokernel.protocol.messages import error_reply_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.history import History
    from isokernel.jupyter.wire import Message

__all__ = ["Requests"]


class Requests:
    """Serves what needs the context but doesn't run as a cell. Of the V8 thread."""

    def __init__(
        self,
        context: Context,
        channels: Channels,
        history: History,
        information: dict[str, Any],
    ) -> None:
        """Answer from `context` and `history`; `information` is kernel_info's."""
        self._context = context
        self._channels = channels
        self._history = history
        self._information = information
        self._answers: dict[str, Callable[[Message], dict[str, Any]]] = {
            "kernel_info_request": self._kernel_info,
            "connect_request": self._connect,
            "complete_request": self._complete,
            "inspect_request": self._inspect,
            "is_complete_request": self._is_complete,
            "history_request": self._search_history,
            "comm_info_request": self._comm_info,
        }
        self._notices: dict[str, Callable[[Message], None]] = {
            "comm_open": self._comm_open,
            "comm_msg": self._comm_message,
            "comm_close": self._comm_close,
        }

    def use(self, context: Context) -> None:
        """Answer from another context from now on."""
        self._context = context

    def serve(self, request: Message) -> None:
        """Answer a request, or take in a message that has no answer. Never raises."""
        kind = request.kind
        with self._channels.broadcast.serving(request.header_frame):
            notice = self._notices.get(kind)
            if notice is not None:
                self._notify(notice, request)
            elif kind.endswith("_request"):
                reply = kind.removesuffix("_request") + "_reply"
                self._channels.reply(request, reply, self._answer(request))
            else:
                log.warning(f"dropped a message of unknown type {kind!r} on shell")

    def _answer(self, request: Message) -> dict[str, Any]:
        answer = self._answers.get(request.kind)
        try:
            if answer is None:
                message = f"this kernel doesn't know {request.kind}"
                raise MessageError(message)  # noqa: TRY301 - one answer for all
            return answer(request)
        except IsokernelError as error:
            problem: Exception = error
        except Exception as error:  # noqa: BLE001 - the request must get its reply
            log.failure(f"serving {request.kind}", error)
            problem = error
        if request.kind == "is_complete_request":
            # The one reply whose status can't be "error".
            return {"status": "unknown"}
        return error_reply_content(type(problem).__name__, str(problem))

    def _notify(self, notice: Callable[[Message], None], message: Message) -> None:
        try:
            notice(message)
        except MessageError as error:
            log.warning(f"dropped a {message.kind}: {error}")
        except Exception as error:  # noqa: BLE001 - the kernel goes on
            log.failure(f"serving {message.kind}", error)

    def _kernel_info(self, _request: Message) -> dict[str, Any]:
        return self._information

    def _connect(self, _request: Message) -> dict[str, Any]:
        ports = self._channels.connection.ports
        return {
            "status": "ok",
            **{f"{name}_port": port for name, port in ports.items()},
        }

    def _complete(self, request: Message) -> dict[str, Any]:
        return answers.complete(self._context, request.content)

    def _inspect(self, request: Message) -> dict[str, Any]:
        return answers.inspect(self._context, request.content)

    def _is_complete(self, request: Message) -> dict[str, Any]:
        return answers.is_complete(self._context, request.content)

    def _search_history(self, request: Message) -> dict[str, Any]:
        return {"status": "ok", "history": self._history.answer(request.content)}

    def _comm_info(self, request: Message) -> dict[str, Any]:
        return answers.comm_info(self._context, request.content)

    def _comm_open(self, message: Message) -> None:
        refusal = answers.comm_open(
            self._context, message.content, message.metadata, message.buffers
        )
        if refusal is not None:
            self._channels.broadcast.send("comm_close", refusal, message.header_frame)

    def _comm_message(self, message: Message) -> None:
        answers.comm_message(
            self._context, message.content, message.metadata, message.buffers
        )

    def _comm_close(self, message: Message) -> None:
        answers.comm_close(self._context, message.content, message.metadata)

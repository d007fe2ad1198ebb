"""Requests on shell that aren't cells: answered at once, also while a cell awaits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isokernel.errors import IsokernelError, MessageError
from isokernel.jupyter import log
from isokernel.messages import error_reply_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context import Context
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
        code, cursor = _code_at_cursor(request)
        found = self._context.complete(code, cursor)
        types = [
            {"start": found.start, "end": found.end, "text": text, "type": kind}
            for text, kind in zip(found.matches, found.types, strict=False)
        ]
        return {
            "status": "ok",
            "matches": list(found.matches),
            "cursor_start": found.start,
            "cursor_end": found.end,
            "metadata": {"_jupyter_types_experimental": types},
        }

    def _inspect(self, request: Message) -> dict[str, Any]:
        code, cursor = _code_at_cursor(request)
        detail = 1 if request.content.get("detail_level") == 1 else 0
        data = self._context.inspect(code, cursor, detail)
        return {
            "status": "ok",
            "found": data is not None,
            "data": data or {},
            "metadata": {},
        }

    def _is_complete(self, request: Message) -> dict[str, Any]:
        status, indent = self._context.is_complete(_text(request, "code"))
        if status == "incomplete":
            return {"status": status, "indent": indent}
        return {"status": status}

    def _search_history(self, request: Message) -> dict[str, Any]:
        return {"status": "ok", "history": self._history.answer(request.content)}

    def _comm_info(self, request: Message) -> dict[str, Any]:
        wanted = request.content.get("target_name")
        comms = {
            comm_id: {"target_name": target}
            for comm_id, target in self._context.comms().items()
            if wanted in {None, "", target}
        }
        return {"status": "ok", "comms": comms}

    def _comm_open(self, message: Message) -> None:
        comm_id = _text(message, "comm_id")
        known = self._context.comm_open(
            comm_id,
            _text(message, "target_name"),
            _data(message),
            message.metadata,
            tuple(message.buffers),
        )
        if not known:
            content = {"comm_id": comm_id, "data": {}}
            self._channels.broadcast.send("comm_close", content, message.header_frame)

    def _comm_message(self, message: Message) -> None:
        self._context.comm_message(
            _text(message, "comm_id"),
            _data(message),
            message.metadata,
            tuple(message.buffers),
        )

    def _comm_close(self, message: Message) -> None:
        self._context.comm_close(
            _text(message, "comm_id"), _data(message), message.metadata
        )


def _text(message: Message, field: str) -> str:
    value = message.content.get(field)
    if not isinstance(value, str):
        problem = f"{message.kind} has no {field}"
        raise MessageError(problem)
    return value


def _data(message: Message) -> dict[str, Any]:
    value = message.content.get("data", {})
    if not isinstance(value, dict):
        problem = f"the data of {message.kind} is no object"
        raise MessageError(problem)
    return value


def _code_at_cursor(message: Message) -> tuple[str, int]:
    """Read code and cursor; a cursor outside, or none, is taken as the nearest end."""
    code = _text(message, "code")
    cursor = message.content.get("cursor_pos")
    if cursor is None:
        cursor = len(code)
    if isinstance(cursor, bool) or not isinstance(cursor, int):
        problem = f"cursor_pos of {message.kind} is no integer"
        raise MessageError(problem)
    return code, min(max(cursor, 0), len(code))

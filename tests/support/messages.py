"""Schemas of the Jupyter messages that a kernel sends, and a check of their order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
OBJECT = {"type": "object"}
FLAG = {"type": "boolean"}
LINES = {"type": "array", "items": TEXT}
MIME = {
    "type": "object",
    "propertyNames": {"pattern": r"^[\w\-+.]+/[\w\-+.]+$"},
}


def closed(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """Make a schema of exactly these properties, all required but the optional."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


ERROR = {"ename": TEXT, "evalue": TEXT, "traceback": LINES}
ERROR_REPLY = closed(
    {"status": {"const": "error"}, "execution_count": COUNT, **ERROR},
    "execution_count",
)
EXPRESSION = {
    "anyOf": [
        closed({"status": {"const": "ok"}, "data": MIME, "metadata": OBJECT}),
        closed({"status": {"const": "error"}, **ERROR}),
    ]
}
PAYLOAD = {
    "type": "array",
    "items": {
        "anyOf": [
            closed({"source": {"const": "page"}, "data": MIME, "start": COUNT}),
            closed({"source": {"const": "ask_exit"}, "keepkernel": FLAG}),
        ]
    },
}
EXECUTED = {
    "execution_count": COUNT,
    "payload": PAYLOAD,
    "user_expressions": {"type": "object", "additionalProperties": EXPRESSION},
}
OK = {"status": {"const": "ok"}}
SCHEMAS: dict[str, dict[str, Any]] = {
    "status": closed({"execution_state": {"enum": ["starting", "busy", "idle"]}}),
    "iopub_welcome": closed({"subscription": TEXT}),
    "execute_input": closed({"code": TEXT, "execution_count": COUNT}),
    "stream": closed({"name": {"enum": ["stdout", "stderr"]}, "text": TEXT}),
    "error": closed(ERROR),
    "execute_result": closed(
        {"execution_count": COUNT, "data": MIME, "metadata": OBJECT}
    ),
    "display_data": closed({"data": MIME, "metadata": OBJECT, "transient": OBJECT}),
    "update_display_data": closed(
        {
            "data": MIME,
            "metadata": OBJECT,
            "transient": closed({"display_id": TEXT}),
        }
    ),
    "clear_output": closed({"wait": FLAG}),
    "comm_open": closed({"comm_id": TEXT, "target_name": TEXT, "data": OBJECT}),
    "comm_msg": closed({"comm_id": TEXT, "data": OBJECT}),
    "comm_close": closed({"comm_id": TEXT, "data": OBJECT}),
    "execute_reply": {
        "oneOf": [
            closed({**OK, **EXECUTED}),
            closed({"status": {"const": "error"}, **ERROR, **EXECUTED}),
            closed({"status": {"const": "aborted"}}),
            ERROR_REPLY,
        ]
    },
    "kernel_info_reply": closed(
        {
            **OK,
            "protocol_version": TEXT,
            "implementation": TEXT,
            "implementation_version": TEXT,
            "language_info": closed(
                dict.fromkeys(
                    (
                        "name",
                        "version",
                        "mimetype",
                        "file_extension",
                        "pygments_lexer",
                        "codemirror_mode",
                        "nbconvert_exporter",
                    ),
                    TEXT,
                )
            ),
            "banner": TEXT,
            "debugger": FLAG,
            "supported_features": LINES,
            "help_links": {
                "type": "array",
                "items": closed({"text": TEXT, "url": TEXT}),
            },
        }
    ),
    "complete_reply": closed(
        {
            **OK,
            "matches": LINES,
            "cursor_start": COUNT,
            "cursor_end": COUNT,
            "metadata": OBJECT,
        }
    ),
    "inspect_reply": closed({**OK, "found": FLAG, "data": MIME, "metadata": OBJECT}),
    "is_complete_reply": closed(
        {
            "status": {"enum": ["complete", "incomplete", "invalid", "unknown"]},
            "indent": TEXT,
        },
        "indent",
    ),
    "history_reply": closed(
        {
            **OK,
            "history": {
                "type": "array",
                "items": {
                    "type": "array",
                    "prefixItems": [COUNT, COUNT, {"type": ["string", "array"]}],
                    "minItems": 3,
                    "maxItems": 3,
                },
            },
        }
    ),
    "comm_info_reply": closed({**OK, "comms": OBJECT}),
    "connect_reply": closed(
        {
            **OK,
            **{f"{name}_port": COUNT for name in ("shell", "iopub", "stdin", "hb")},
            "control_port": COUNT,
        }
    ),
    "interrupt_reply": closed(OK),
    "shutdown_reply": closed({**OK, "restart": FLAG}),
    "input_request": closed({"prompt": TEXT, "password": FLAG}),
}
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass
class Validator:
    """Checks each message alone, and that all of them together make sense."""

    seen: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)

    def check(self, message: dict[str, Any]) -> None:
        """Check one message, in the order of arrival within its channel."""
        header, kind = message["header"], message["header"]["msg_type"]
        assert header["msg_id"] not in self.seen, "a message id came twice"
        self.seen.add(header["msg_id"])
        assert header["version"] == "5.4"
        assert header["username"]
        assert header["session"]
        if isinstance(header["date"], str):
            assert DATE.fullmatch(header["date"])
        content = message["content"]
        schema = SCHEMAS.get(kind)
        if content.get("status") == "error" and kind != "execute_reply":
            schema = ERROR_REPLY
        assert schema is not None, f"a {kind} was sent"
        Draft202012Validator(schema).validate(content)
        # A manager and its clients have the same session, so each gives the same ids.
        header = message["parent_header"]
        parent = f"{header['msg_type']} {header['msg_id']}" if header else ""
        if kind == "status":
            self._status(content["execution_state"], parent)
        elif kind == "execute_input":
            assert parent in self.open, "execute_input outside busy and idle"

    def _status(self, state: str, parent: str) -> None:
        if state == "starting":
            assert not parent, "nobody asked for the start"
        elif state == "busy":
            assert parent not in self.closed, "busy after idle"
            self.open.add(parent)
        else:
            assert parent in self.open, "idle without busy"
            self.open.remove(parent)
            self.closed.add(parent)

"""The flags of `isokernel serve` and `isokernel mcp`: one for each setting.

The settings say what there is and what it means. Here is how flags are written, and in
which groups the help lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = ["GROUPS", "FlagError", "HelpRequest", "parse"]

GROUPS: Final = {
    "Where the server is, and what it keeps": (
        *("config", "host", "port", "public_url", "data_dir", "database_url"),
        *("heap_store", "log_level", "access_log"),
    ),
    "Languages and contexts": (
        *("languages", "default_language", "contexts_max", "context_ttl_seconds"),
        *("context_start_timeout_seconds", "context_query_timeout_seconds"),
        *("cells_queued_max", "cell_output_characters_max", "notebook_cells_max"),
        *("notebook_characters_max", "hibernate_after_seconds"),
        *("hibernated_contexts_max", "hibernated_context_ttl_seconds"),
    ),
    "Memory and confinement": (
        *("v8_heap_bytes_max", "array_buffer_bytes_max", "python_memory_bytes_max"),
        *("python_files_bytes_max", "python_processes_max", "python_readable"),
        *("contexts_memory_bytes_max",),
        *("sandbox", "container_program", "insecure_kernels", "context_niceness"),
    ),
    "Access": (
        *("api_key", "workspaces", "insecure_no_auth", "allowed_host", "cors_origin"),
        *("workspace_share", "execute_rate_per_minute", "request_rate_per_minute"),
        *("failure_rate_per_minute",),
    ),
    "Access by OAuth tokens": (
        *("oauth_issuer", "oauth_audience", "oauth_jwks_url", "oauth_algorithms"),
        *("oauth_leeway_seconds", "oauth_client_claim", "oauth_workspace_claim"),
        *("oauth_scope_claim", "oauth_required_scope", "oauth_admin_scope"),
        *("oauth_keys_timeout_seconds", "oauth_keys_ttl_seconds"),
        *("oauth_keys_stale_seconds", "oauth_keys_interval_seconds"),
    ),
    "Executions": (
        *("executions_running_max", "executions_queued_max"),
        *("execution_queue_timeout_seconds", "execution_timeout_seconds"),
        *("execution_output_bytes_max", "execution_v8_heap_bytes_max"),
        *("execution_ttl_seconds", "executions_kept_max"),
        *("executions_total_bytes_max", "stateless"),
    ),
    "Saved heaps and sessions": (
        *("heap_bytes_max", "heap_compression_level", "heap_ttl_seconds"),
        *("workspace_heaps_max", "heaps_total_bytes_max", "heap_grace_seconds"),
        *("heap_sweep_interval_seconds", "session_entries_max"),
        *("checkpoint_timeout_seconds",),
    ),
    "MCP": (
        *("session_id", "mcp_connections_max", "mcp_connection_ttl_seconds"),
        *("run_js_wait_seconds", "mcp_instructions", "run_js_description"),
        *("execute_description",),
    ),
    "Tasks and type checks": (
        *("tasks_unfinished_max", "tasks_running_max", "task_ttl_seconds"),
        *("tasks_kept_max", "tasks_total_bytes_max", "task_calls_running_max"),
        *("task_calls_unfinished_max", "task_unread_bytes_max", "typecheck"),
        *("typecheck_timeout_seconds", "typecheck_v8_heap_bytes_max"),
        *("typechecks_running_max",),
    ),
    "Tools, approvals and the audit": (
        *("sources_local", "sources_private", "workspace_sources_max"),
        *("workspace_policies_max", "source_tools_max", "source_start_timeout_seconds"),
        *("source_document_bytes_max", "source_calls_running_max"),
        *("tool_call_timeout_seconds", "tool_input_bytes_max"),
        *("tool_response_bytes_max", "approval_timeout_seconds"),
        *("approval_input_characters_max", "approval_elicitation"),
        *("execute_approval_wait_seconds", "workspace_approvals_max"),
        *("audit_ttl_seconds",),
    ),
    "Requests, streams and the end": (
        *("request_body_bytes_max", "request_header_bytes_max"),
        *("connections_max", "connections_per_address_max"),
        *("request_head_timeout_seconds", "connection_idle_timeout_seconds"),
        *("stream_heartbeat_interval_seconds", "stream_buffer_characters_max"),
        *("stream_stall_timeout_seconds", "interrupt_grace_seconds"),
        *("shutdown_grace_seconds", "shutdown_save_timeout_seconds"),
    ),
}
"""All settings that are flags, as the help has them. Others are tables of the file."""

_SWITCH: Final = frozenset(
    {"on", "off", "true", "false", "yes", "no", "1", "0", "t", "f", "y", "n"}
)
_NONE: Final = frozenset({"none", "null"})
_UNITS: Final = ("seconds", "bytes", "characters")
_WIDTH_MAX: Final = 100
_INDENT: Final = 6


class FlagError(ValueError):
    """The flags can't be understood."""


class HelpRequest(Exception):  # noqa: N818 - no error
    """The flags ask for help."""

    def __init__(self, model: type[BaseModel]) -> None:
        super().__init__()
        self._model = model

    def text(self, command: str) -> str:
        """Return the help of `isokernel serve` or `isokernel mcp`."""
        import shutil  # noqa: PLC0415 - for the help alone
        import textwrap  # noqa: PLC0415

        width = min(shutil.get_terminal_size().columns, _WIDTH_MAX)
        wrap = textwrap.TextWrapper(width, break_on_hyphens=False)
        lines = wrap.wrap(_ABOUT[command])
        lines = [f"Usage: isokernel {command} [FLAGS]", "", *lines, ""]
        lines += [*wrap.wrap(_HOW), ""]
        wrap.initial_indent = wrap.subsequent_indent = " " * _INDENT
        for title, names in GROUPS.items():
            lines.append(f"{title}:")
            for name in names:
                field = self._model.model_fields[name]
                lines.append(f"  {_flag(name)} {_metavar(name, field)}")
                lines += wrap.wrap(f"{field.description}{_default(field)}")
            lines.append("")
        lines += ["  -h, --help", *wrap.wrap("Show this and exit."), ""]
        return "\n".join(lines)


_ABOUT: Final = {
    "serve": "Serve contexts over HTTP, and agents over MCP at /mcp, until SIGTERM.",
    "mcp": "Serve one agent over MCP on stdin and stdout, until stdin is closed. If a "
    "server already has the data folder, that server serves the agent. The settings "
    "are those of `isokernel serve`; those of HTTP are not used.",
}
_HOW: Final = (
    "Each flag can also be a variable (ISOKERNEL_PORT) or a key of the TOML file. "
    "A flag overrides the variable, and the variable overrides the file. Lists are "
    "separated by commas, or their flags are repeated. A switch is turned on by "
    "--stateless or --stateless on, and off by --no-stateless or --stateless off. "
    "`none` means no limit, where a limit can be left out."
)


def parse(arguments: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Read flags.

    Args:
        arguments: The command line behind the command.
        model: The settings.

    Returns:
        Values of settings, as text but for switches and lists; `model` checks them.

    Raises:
        FlagError: They can't be understood.
        HelpRequest: Help is asked for.
    """
    given: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in {"-h", "--help"}:
            raise HelpRequest(model)
        flag, equals, text = word.partition("=")
        name, is_off = _find(flag, model)
        field = model.model_fields[name]
        if field.annotation is bool:
            if not equals:
                is_value = bool(words) and words[0].lower() in _SWITCH and not is_off
                text = words.pop(0) if is_value else "on"
            elif is_off:
                message = f"{flag} takes no value"
                raise FlagError(message)
            given[name] = "off" if is_off else text
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                message = f"{flag} needs a value"
                raise FlagError(message)
            text = words.pop(0)
        if get_origin(field.annotation) is list:
            given.setdefault(name, []).extend(_items(flag, text, field))
        elif text.lower() in _NONE and type(None) in get_args(field.annotation):
            given[name] = None
        else:
            given[name] = text
    return given


def _find(flag: str, model: type[BaseModel]) -> tuple[str, bool]:
    """Return the setting that a flag is for, and whether it switches it off."""
    name = flag[2:].replace("-", "_") if flag.startswith("--") else ""
    if name in model.model_fields:
        return name, False
    rest = name.removeprefix("no_")
    if rest != name and rest in model.model_fields:
        if model.model_fields[rest].annotation is bool:
            return rest, True
        message = f"{_flag(rest)} is no switch, so there is no {flag}"
        raise FlagError(message)
    if not name:
        message = f"{flag!r} is not a flag"
        raise FlagError(message)
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    known = [_flag(each) for each in model.model_fields]
    near = get_close_matches(flag, known, 1)
    message = f"there is no flag {flag}"
    raise FlagError(f"{message}; did you mean {near[0]}?" if near else message)


def _items(flag: str, text: str, field: FieldInfo) -> list[Any]:
    """Return values of a list: text with commas, or JSON where they are tables."""
    if get_args(field.annotation)[0] is str:
        return [text]
    try:
        found = json.loads(text)
    except ValueError:
        message = f"{flag} needs JSON; it is easier to write as tables of the file"
        raise FlagError(message) from None
    return found if isinstance(found, list) else [found]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _metavar(name: str, field: FieldInfo) -> str:
    """Return what stands for a flag's value in the help."""
    kinds = _kinds(field.annotation)
    if field.annotation is bool:
        return "on|off"
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    if get_origin(field.annotation) is list:
        return "NAME,..." if str in kinds else "JSON"
    if kinds & {int, float}:
        units = [unit for unit in _UNITS if f"_{unit}" in name]
        return units[-1].upper() if units else "NUMBER"
    return "PATH" if Path in kinds else "TEXT"


def _kinds(annotation: Any) -> set[Any]:
    """Return all types that an annotation is made of."""
    return {annotation}.union(*(_kinds(part) for part in get_args(annotation)))


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, bool):
        value = "on" if value else "off"
    elif isinstance(value, list):
        value = ",".join(value)
    elif isinstance(value, float):
        value = f"{value:g}"
    return "" if value in {None, ""} else f" Default: {value}."

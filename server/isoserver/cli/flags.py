"""The flags of `isokernel serve` and `isokernel mcp`: one for each setting.

The settings define the values and their meaning. This module defines how flags are
written and how the help groups them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from isoserver.settings.fields import SWITCH
from isoserver.settings.reading import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoserver.settings.fields import Setting, Settings

__all__ = ["GROUPS", "FlagError", "HelpRequest", "parse"]

GROUPS: Final = {
    "Where the server is, and what it keeps": (
        *("config", "host", "port", "public_url", "data_dir", "database_url"),
        *("lock_timeout_seconds", "heap_store", "log_level", "access_log"),
        "traces",
    ),
    "Languages and contexts": (
        *("languages", "default_language", "contexts_max", "context_ttl_seconds"),
        *("context_start_timeout_seconds", "context_query_timeout_seconds"),
        *("context_templates", "context_templates_max"),
        *("context_template_seconds_max", "context_template_timeout_seconds"),
        *("cells_queued_max", "output_bytes_max", "notebook_cells_max"),
        *("notebook_characters_max", "transcript_bytes_max"),
        *("fronts_max", "context_fronts_max"),
        "hibernate_after_seconds",
        *("hibernated_contexts_max", "hibernated_context_ttl_seconds"),
    ),
    "Memory and confinement": (
        *("v8_heap_bytes_max", "array_buffer_bytes_max", "python_memory_bytes_max"),
        *("python_files_bytes_max", "python_processes_max", "python_spares"),
        *("python_readable", "python_wheels", "contexts_memory_bytes_max"),
        *("files_bytes_max", "files_max", "file_bytes_max", "files_open_max"),
        *("result_file_characters_max",),
        *("sandbox", "container_program", "insecure_kernels", "context_niceness"),
    ),
    "Access": (
        *("api_key", "workspaces", "insecure_no_auth", "allowed_host", "cors_origin"),
        *("workspace_share", "execute_rate_per_minute", "request_rate_per_minute"),
        *("failure_rate_per_minute", "trusted_proxies"),
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
        "execution_v8_heap_bytes_max",
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
    "Modules, files and the network": (
        *("modules", "net", "files", "env", "capability_mode"),
        *("capability_calls_max", "capability_call_bytes_max"),
        *("capability_unread_bytes_max", "net_requests_max", "net_requests_total_max"),
        *("net_connect_timeout_seconds", "net_idle_timeout_seconds"),
        *("net_request_timeout_seconds", "net_request_bytes_max"),
        *("net_response_bytes_max", "net_head_bytes_max", "net_ca_file", "net_proxies"),
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
    "Packages": (
        *("package_cache_dir", "package_npmrc", "package_offline"),
        *("package_conditions", "package_cache_bytes_max"),
        *("package_tarball_bytes_max", "package_unpacked_bytes_max"),
        *("package_files_max", "package_metadata_bytes_max"),
        *("package_metadata_fresh_seconds", "package_request_timeout_seconds"),
        *("package_download_timeout_seconds", "package_pack_timeout_seconds"),
        *("package_retries_max", "package_downloads_max", "package_graph_modules_max"),
        *("package_graph_bytes_max", "package_graphs_kept_bytes_max"),
        *("package_code_cache", "packages_max"),
    ),
    "Webhooks": (
        *("webhook_host", "webhook_private", "webhook_secret", "webhook_attempts_max"),
        *("webhook_timeout_seconds", "webhook_retry_seconds"),
        *("webhook_retry_seconds_max", "webhooks_pending_max", "webhooks_running_max"),
    ),
    "Several servers": (
        *("cluster", "cluster_url", "cluster_secret", "cluster_lease_seconds"),
    ),
    "Requests, streams and shutdown": (
        *("request_body_bytes_max", "request_header_bytes_max"),
        *("connections_max", "connections_per_address_max"),
        *("request_head_timeout_seconds", "connection_idle_timeout_seconds"),
        *("stream_heartbeat_interval_seconds", "stream_buffer_characters_max"),
        *("stream_stall_timeout_seconds", "interrupt_grace_seconds"),
        *("shutdown_grace_seconds", "shutdown_save_timeout_seconds"),
    ),
}
"""All settings that are flags, in the order of the help. Others are tables."""

_UNITS: Final = ("seconds", "bytes", "characters")
_WIDTH_MAX: Final = 100
_INDENT: Final = 6


class FlagError(ValueError):
    """The flags are invalid."""


class HelpRequest(Exception):  # noqa: N818 - no error
    """The flags ask for help."""

    def __init__(self, settings: type[Settings]) -> None:
        super().__init__()
        self._settings = settings

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
                found = self._settings.fields[name]
                lines.append(f"  {found.flag} {_metavar(found)}")
                lines += wrap.wrap(f"{found.description}{_default(found)}")
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
    "Each flag can also be set by an environment variable (ISOKERNEL_PORT) or a key "
    "in the TOML file. "
    "A flag overrides the variable, and the variable overrides the file. Lists are "
    "separated by commas, or their flags are repeated. A switch is turned on by "
    "--stateless or --stateless on, and off by --no-stateless or --stateless off. "
    "`none` means no limit, where that is allowed."
)


def parse(arguments: Sequence[str], settings: type[Settings]) -> dict[str, Any]:
    """Read flags.

    Args:
        arguments: The command line behind the command.
        settings: The settings.

    Returns:
        Values of settings as text, and lists of text; they aren't checked.

    Raises:
        FlagError: They are invalid.
        HelpRequest: Help is asked for.
    """
    given: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in {"-h", "--help"}:
            raise HelpRequest(settings)
        flag, equals, text = word.partition("=")
        found, is_off = _find(flag, settings)
        if found.is_switch:
            if not equals:
                is_value = bool(words) and words[0].lower() in SWITCH and not is_off
                text = words.pop(0) if is_value else "on"
            elif is_off:
                message = f"{flag} takes no value"
                raise FlagError(message)
            given[found.name] = "off" if is_off else text
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                message = f"{flag} needs a value"
                raise FlagError(message)
            text = words.pop(0)
        if found.is_list:
            given.setdefault(found.name, []).append(text)
        else:
            given[found.name] = text
    return given


def _find(flag: str, settings: type[Settings]) -> tuple[Setting, bool]:
    """Return the setting that a flag is for, and whether it switches it off."""
    name = flag[2:].replace("-", "_") if flag.startswith("--") else ""
    if name in settings.fields:
        return settings.fields[name], False
    rest = name.removeprefix("no_")
    if rest != name and rest in settings.fields:
        found = settings.fields[rest]
        if found.is_switch:
            return found, True
        message = f"{found.flag} isn't a switch, so there is no {flag}"
        raise FlagError(message)
    if not name:
        message = f"unexpected argument {flag!r}"
        raise FlagError(message)
    near = nearest(flag, [each.flag for each in settings.fields.values()])
    message = f"there is no flag {flag}{near}"
    raise FlagError(message)


def _metavar(found: Setting) -> str:
    """Return the placeholder for a flag's value in the help."""
    if found.is_list:
        return "JSON" if found.is_table else "NAME,..."
    if found.is_switch:
        return "on|off"
    kind = found.kind
    if kind.choices:
        return "|".join(kind.choices)
    if kind.base in {int, float}:
        units = [unit for unit in _UNITS if f"_{unit}" in found.name]
        return units[-1].upper() if units else "NUMBER"
    return "PATH" if kind.base is Path else "TEXT"


def _default(found: Setting) -> str:
    value = found.default
    if isinstance(value, bool):
        value = "on" if value else "off"
    elif isinstance(value, list):
        value = ",".join(value)
    elif isinstance(value, float):
        value = f"{value:g}"
    return "" if value in {None, ""} else f" Default: {value}."

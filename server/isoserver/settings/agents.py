"""Settings for agents: MCP, tasks, type checking, tools, approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from isoserver.settings.fields import (
    Limits,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)

if TYPE_CHECKING:
    from isoserver.settings.tools import PolicySettings, SourceSettings

__all__ = ["AgentSettings"]

_MIB = 1 << 20


def _read_sources(tables: list[Any]) -> list[SourceSettings]:
    from isoserver.settings.tools import (  # noqa: PLC0415 - pydantic, if there are any
        SourceSettings,
        read_tables,
    )

    return read_tables(SourceSettings, tables)


def _read_policies(tables: list[Any]) -> list[PolicySettings]:
    from isoserver.settings.tools import (  # noqa: PLC0415 - as above
        PolicySettings,
        read_tables,
    )

    return read_tables(PolicySettings, tables)


class AgentSettings(Settings):
    """Limits and texts of what agents use. Times are in seconds, sizes in bytes."""

    tasks_unfinished_max: PositiveInt = setting(
        200, "Unfinished tasks, including those that wait."
    )
    tasks_running_max: PositiveInt = setting(
        16, "Tasks that run at a time; those waiting for approval don't count."
    )
    task_ttl_seconds: PositiveFloat = setting(
        7 * 86_400.0, "Seconds that a task can be looked up after its end."
    )
    tasks_kept_max: PositiveInt = setting(
        100_000, "Tasks that can be looked up; the oldest are deleted."
    )
    tasks_total_bytes_max: PositiveInt = setting(
        4096 * _MIB,
        "Bytes of code, results and output of all tasks; the oldest are deleted.",
    )
    typecheck: bool = setting(
        False, "Check the types of tasks that don't say whether to."
    )
    typecheck_timeout_seconds: PositiveFloat = setting(
        30.0, "Seconds that a type check of one task may take."
    )
    typecheck_v8_heap_bytes_max: PositiveInt = setting(
        512 * _MIB, "Bytes of V8 heap of the type checker."
    )
    typechecks_running_max: PositiveInt = setting(
        2, "Type checks at a time; others wait for their turn."
    )

    mcp_connections_max: PositiveInt = setting(
        1000, "Connections over MCP's streamable HTTP."
    )
    mcp_connection_ttl_seconds: PositiveFloat = setting(
        1800.0, "Seconds after which an unused connection ends."
    )
    run_js_wait_seconds: Annotated[float, Limits(gt=0, le=300)] = setting(
        300.0, "Seconds that run_js waits over MCP when the server is stateless."
    )
    execute_approval_wait_seconds: NonNegativeFloat = setting(
        30.0,
        "Seconds that execute waits for an approval, if its client can't "
        "be asked, before it answers that the approval is pending.",
    )
    session_id: str | None = setting(
        None, "The session of MCP clients that send no X-MCP-Session-Id."
    )
    mcp_instructions: str | None = setting(
        None, "Text that describes the server to MCP clients, in place of ours."
    )
    run_js_description: str | None = setting(
        None, "Text that describes run_js to models, in place of ours."
    )
    execute_description: str | None = setting(
        None, "Text that describes execute to models, in place of ours."
    )

    # Sources and rules are tables of the file; the help lists no flags for them.
    sources: list[SourceSettings] = setting(
        [],
        "The sources of tools for code in contexts.",
        shown=False,
        read=_read_sources,
    )
    policies: list[PolicySettings] = setting(
        [],
        "Which calls are allowed, need approval, or are denied: tables of the file.",
        read=_read_policies,
    )
    sources_local: bool = setting(
        False,
        "Let sources added over REST run commands, and read files and "
        "environment variables of this host.",
    )
    sources_private: bool = setting(
        False,
        "Let sources added over REST use addresses that aren't public: "
        "this host's, and those of its networks.",
    )
    workspace_sources_max: PositiveInt = setting(100, "Sources of one workspace.")
    workspace_policies_max: PositiveInt = setting(
        1000, "Rules that can be added in one workspace."
    )
    source_tools_max: PositiveInt = setting(10_000, "Tools of one source.")
    source_start_timeout_seconds: PositiveFloat = setting(
        30.0, "Seconds that a source has to list its tools."
    )
    source_document_bytes_max: PositiveInt = setting(
        32 * _MIB, "Bytes of a source's document or schema."
    )
    tool_call_timeout_seconds: PositiveFloat = setting(
        60.0, "Seconds that a call of a tool may take."
    )
    tool_input_bytes_max: PositiveInt = setting(1 * _MIB, "Bytes of a tool's input.")
    tool_response_bytes_max: PositiveInt = setting(
        8 * _MIB, "Bytes of a tool's answer."
    )
    source_calls_running_max: PositiveInt = setting(
        16, "Calls to one source at a time; others wait."
    )
    task_calls_running_max: PositiveInt = setting(
        16, "Calls of one task at a time; others wait."
    )
    task_calls_unfinished_max: PositiveInt = setting(
        1000, "Calls of one task that are running or waiting."
    )
    task_unread_bytes_max: PositiveInt = setting(
        64 * _MIB, "Bytes of results that a task's code hasn't read yet."
    )
    approval_timeout_seconds: PositiveFloat = setting(
        600.0, "Seconds to wait for an approval; then the call is denied."
    )
    approval_input_characters_max: PositiveInt = setting(
        2000, "Characters of an input shown to reviewers and in the audit."
    )
    workspace_approvals_max: PositiveInt = setting(
        1000, "Pending approvals of one workspace."
    )
    approval_elicitation: Literal["admin", "always", "never"] = setting(
        "admin",
        "Whose clients may approve their own calls when asked over MCP: "
        "administrators' (admin), everyone's (always) or no one's (never).",
    )
    audit_ttl_seconds: PositiveFloat = setting(
        30 * 86400.0, "Seconds that the audit keeps its entries."
    )

"""What can be set about agents: MCP, tasks, type checking, tools, approvals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from isoserver.settings.tools import (  # noqa: TC001 - pydantic reads annotations
    PolicySettings,
    SourceSettings,
)

__all__ = ["AgentSettings"]

_MIB = 1 << 20


class AgentSettings(BaseSettings):
    """Bounds and texts of the doors that agents come in by. Seconds and bytes."""

    model_config = SettingsConfigDict(defer_build=True)

    tasks_unfinished_max: PositiveInt = Field(
        200, description="Tasks that haven't ended, those that wait included."
    )
    tasks_running_max: PositiveInt = Field(
        16, description="Tasks that run at a time; those that wait for people don't."
    )
    task_ttl_seconds: PositiveFloat = Field(
        7 * 86_400.0, description="Seconds that a task can be looked up after its end."
    )
    tasks_kept_max: PositiveInt = Field(
        100_000, description="Tasks that can be looked up; the oldest go."
    )
    tasks_total_bytes_max: PositiveInt = Field(
        4096 * _MIB,
        description="Bytes that code, results and output of all tasks may have; the "
        "oldest go.",
    )
    typecheck: bool = Field(
        default=False, description="Check the types of tasks unless they say."
    )
    typecheck_timeout_seconds: PositiveFloat = Field(
        30.0, description="Seconds that checking the types of one task may take."
    )
    typecheck_v8_heap_bytes_max: PositiveInt = Field(
        512 * _MIB, description="Bytes of V8 heap of the type checker."
    )
    typechecks_running_max: PositiveInt = Field(
        2, description="Type checks at a time; others wait for their turn."
    )

    mcp_connections_max: PositiveInt = Field(
        1000, description="Connections over MCP's streamable HTTP."
    )
    mcp_connection_ttl_seconds: PositiveFloat = Field(
        1800.0, description="Seconds after which such a connection without use ends."
    )
    run_js_wait_seconds: float = Field(
        300.0,
        gt=0,
        le=300,
        description="Seconds that run_js waits over MCP when the server is stateless.",
    )
    execute_approval_wait_seconds: NonNegativeFloat = Field(
        30.0,
        description="Seconds that execute waits for an approval that its client can't "
        "ask for, before it answers that it is waited for.",
    )
    session_id: str | None = Field(
        None,
        description="The session of MCP clients that name none with X-MCP-Session-Id.",
    )
    mcp_instructions: str | None = Field(
        None, description="What MCP clients are told about the server, instead of ours."
    )
    run_js_description: str | None = Field(
        None, description="What models are told about run_js, instead of ours."
    )
    execute_description: str | None = Field(
        None, description="What models are told about execute, instead of ours."
    )

    # Sources and rules are tables of the file; the help lists no flags for them.
    sources: list[SourceSettings] = Field(
        [], repr=False, description="Where code in contexts finds its tools."
    )
    policies: list[PolicySettings] = Field(
        [],
        description="Which calls are allowed, to be approved, or denied: tables of "
        "the file.",
    )
    sources_local: bool = Field(
        default=False,
        description="Let sources that are added over REST run commands, and read "
        "files and variables of this host.",
    )
    sources_private: bool = Field(
        default=False,
        description="Let sources that are added over REST be at addresses that aren't "
        "public: this host's, and those of its networks.",
    )
    workspace_sources_max: PositiveInt = Field(
        100, description="Sources of one workspace."
    )
    workspace_policies_max: PositiveInt = Field(
        1000, description="Rules that may be added in one workspace."
    )
    source_tools_max: PositiveInt = Field(10_000, description="Tools of one source.")
    source_start_timeout_seconds: PositiveFloat = Field(
        30.0, description="Seconds that a source has to list its tools."
    )
    source_document_bytes_max: PositiveInt = Field(
        32 * _MIB, description="Bytes of a source's document or schema."
    )
    tool_call_timeout_seconds: PositiveFloat = Field(
        60.0, description="Seconds that a call of a tool may take."
    )
    tool_input_bytes_max: PositiveInt = Field(
        1 * _MIB, description="Bytes of a tool's input."
    )
    tool_response_bytes_max: PositiveInt = Field(
        8 * _MIB, description="Bytes of a tool's answer."
    )
    source_calls_running_max: PositiveInt = Field(
        16, description="Calls that one source gets at a time; others wait."
    )
    task_calls_running_max: PositiveInt = Field(
        16, description="Calls that one task makes at a time; others wait."
    )
    task_calls_unfinished_max: PositiveInt = Field(
        1000, description="Calls of one task that may be under way or wait."
    )
    task_unread_bytes_max: PositiveInt = Field(
        64 * _MIB, description="Bytes of results that a task's code hasn't taken in."
    )
    approval_timeout_seconds: PositiveFloat = Field(
        600.0, description="Seconds that an approval is waited for; then it is denied."
    )
    approval_input_characters_max: PositiveInt = Field(
        2000, description="Characters of an input that reviewers and the audit see."
    )
    workspace_approvals_max: PositiveInt = Field(
        1000, description="Approvals that may be pending in one workspace."
    )
    approval_elicitation: Literal["admin", "always", "never"] = Field(
        "admin",
        description="Whose clients may approve their own calls, when they are asked "
        "over MCP: administrators', everybody's, or nobody's.",
    )
    audit_ttl_seconds: PositiveFloat = Field(
        30 * 86400.0, description="Seconds that the audit keeps its entries."
    )

"""The tables of this package; times are seconds since 1970, inputs are redacted."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text

from isoserver.storage.database import METADATA

__all__ = ["APPROVALS", "AUDIT", "POLICIES", "SOURCES"]

SOURCES = Table(
    "tool_sources",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("revision", String, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
)

POLICIES = Table(
    "tool_policies",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
)

APPROVALS = Table(
    "tool_approvals",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("task_id", String, nullable=False),
    Column("call_id", String, nullable=False),
    Column("session", String, nullable=True),
    Column("client", String, nullable=False),
    Column("path", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("rule", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("decided_at", Float, nullable=True),
    Index("tool_approvals_state", "workspace", "state", "created_at"),
    Index("tool_approvals_task", "workspace", "task_id"),
)

AUDIT = Table(
    "tool_audit",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("client", String, nullable=False),
    Column("session", String, nullable=True),
    Column("task_id", String, nullable=True),
    Column("call_id", String, nullable=True),
    Column("path", String, nullable=False),
    Column("input", Text, nullable=False),
    Column("decision", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("approval_id", String, nullable=True),
    Column("reason", Text, nullable=False),
    Column("outcome", String, nullable=False),
    Column("code", String, nullable=True),
    Column("ms", Integer, nullable=True),
    Index("tool_audit_time", "workspace", "at"),
    Index("tool_audit_task", "workspace", "task_id"),
)

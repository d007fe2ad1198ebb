"""The tables of this package; times are seconds since 1970, inputs are redacted."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text

from isoserver.database import METADATA

__all__ = ["APPROVALS", "AUDIT", "POLICIES", "SOURCES"]

SOURCES = Table(
    "tool_sources",
    METADATA,
    Column("workspace", String(128), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("revision", String(32), nullable=False),
    Column("configuration", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String(128), nullable=False),
)

POLICIES = Table(
    "tool_policies",
    METADATA,
    Column("workspace", String(128), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("rule", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String(128), nullable=False),
)

APPROVALS = Table(
    "tool_approvals",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("workspace", String(128), nullable=False),
    Column("task_id", String(64), nullable=False),
    Column("call_id", String(64), nullable=False),
    Column("session", String(128), nullable=True),
    Column("client", String(128), nullable=False),
    Column("path", String(512), nullable=False),
    Column("description", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", String(128), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("decided_at", Float, nullable=True),
    Index("tool_approvals_state", "workspace", "state", "created_at"),
    Index("tool_approvals_task", "workspace", "task_id"),
)

AUDIT = Table(
    "tool_audit",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("workspace", String(128), nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("client", String(128), nullable=False),
    Column("session", String(128), nullable=True),
    Column("task_id", String(64), nullable=True),
    Column("call_id", String(64), nullable=True),
    Column("path", String(512), nullable=False),
    Column("input", Text, nullable=False),
    Column("decision", String(32), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("approval_id", String(64), nullable=True),
    Column("reason", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("code", String(64), nullable=True),
    Column("ms", Integer, nullable=True),
    Index("tool_audit_time", "workspace", "at"),
    Index("tool_audit_task", "workspace", "task_id"),
)

"""What the database saw: who owned what, and who wrote what, at which time.

Triggers of the tests' own, beside those of the fence, write it down. So the checks here
don't rely on what they check.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.support.postgresql import PostgreSQL

__all__ = ["Answered", "Audit"]

_OWNED = {"contexts": ("context", "id"), "context_cells": ("context", "context")}
"""The tables whose writes are looked at: of which kind and column their owner is."""
_FOREVER = float("inf")
_MAKE = """
CREATE TABLE audit (
    number bigserial, at float8, relation text, operation text, me text,
    before jsonb, after jsonb
);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (at, relation, operation, me, before, after) VALUES (
        extract(epoch FROM clock_timestamp()), TG_TABLE_NAME, TG_OP,
        coalesce(current_setting('isokernel.server', TRUE), ''),
        CASE WHEN TG_OP <> 'INSERT' THEN {columns} END,
        CASE WHEN TG_OP <> 'DELETE' THEN {after} END
    );
    RETURN NULL;
END $$;
"""
_TRIGGER = """
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION audit();
"""
_COLUMNS = (
    *("kind", "workspace", "id", "context", "server", "generation"),
    *("url", "fenced"),
)
_READ = "SELECT coalesce(json_agg(audit ORDER BY number), '[]') FROM audit"

Key = tuple[str, str, str]


class Answered(NamedTuple):
    """An answer of a context's owner.

    Attributes:
        key: Kind, workspace and id.
        url: Where the owner was.
        began: When it was asked for, in seconds since 1970.
        ended: When it came.
    """

    key: Key
    url: str
    began: float
    ended: float


class _Term(NamedTuple):
    """For how long a server owned something.

    Attributes:
        server: Its id.
        generation: Of its claim.
        began: When that was.
        ended: When it was over for what the server answers.
        forgotten: When it was over for what it had begun to write.
    """

    server: str
    generation: int
    began: float
    ended: float
    forgotten: float


class Audit:
    """The history of a database of a cluster's, from now on."""

    def __init__(self, postgresql: PostgreSQL, database: str) -> None:
        """Begin to write it down."""
        self._postgresql = postgresql
        self._database = database
        names = ", ".join(f"'{name}'" for name in _COLUMNS)

        def chosen(row: str) -> str:
            every = f"jsonb_each(to_jsonb({row}))"
            some = f"FROM {every} WHERE key IN ({names})"
            return f"(SELECT jsonb_object_agg(key, value) {some})"

        made = _MAKE.format(columns=chosen("OLD"), after=chosen("NEW"))
        for table in ("cluster_owners", "cluster_servers", *_OWNED):
            made += _TRIGGER.format(table=table)
        postgresql.query(made, database)

    def check(self, answers: list[Answered]) -> tuple[list[str], dict[str, int]]:
        """Look for what was owned twice; return that, and how much was looked at."""
        rows = json.loads(self._postgresql.query(_READ, self._database))
        problems: list[str] = []
        fenced, gone, urls = _servers(rows)
        terms = _terms(rows, fenced, gone, problems)
        writes = 0
        for row in rows:
            if row["relation"] in _OWNED and row["me"]:
                writes += 1
                kind, column = _OWNED[row["relation"]]
                of = row["after"] or row["before"]
                key = (kind, of["workspace"], of[column])
                if row["operation"] != "DELETE" and not any(
                    term.server == row["me"]
                    and term.began <= row["at"] <= term.forgotten
                    for term in terms[key]
                ):
                    problems.append(f"{key} was written by {row['me']}: {row}")
        for answer in answers:
            ids = urls[answer.url]
            if not any(
                term.server in ids
                and term.began < answer.ended
                and term.ended > answer.began
                for term in terms[answer.key]
            ):
                problems.append(f"not by its owner: {answer}, {terms[answer.key]}")
        counts = {
            "terms": sum(len(each) for each in terms.values()),
            "moves": sum(len(each) - 1 for each in terms.values()),
            "writes": writes,
            "answers": len(answers),
            "servers": len(gone),
        }
        return problems, counts


def _servers(
    rows: list[Any],
) -> tuple[dict[str, float], dict[str, float], dict[str, set[str]]]:
    """When each server was fenced, when it was gone, and who was at each URL."""
    fenced: dict[str, float] = {}
    gone: dict[str, float] = {}
    urls: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["relation"] != "cluster_servers":
            continue
        of = row["after"] or row["before"]
        server = of["id"]
        urls[of["url"]].add(server)
        for ends in (fenced, gone):
            ends.setdefault(server, _FOREVER)
        if row["operation"] == "DELETE" or of["fenced"]:
            fenced[server] = min(fenced[server], row["at"])
        if row["operation"] == "DELETE":
            gone[server] = row["at"]
    return fenced, gone, urls


def _terms(
    rows: list[Any],
    fenced: dict[str, float],
    gone: dict[str, float],
    problems: list[str],
) -> dict[Key, list[_Term]]:
    """Who owned each thing, one after the other."""
    terms: dict[Key, list[_Term]] = defaultdict(list)
    for row in rows:
        if row["relation"] != "cluster_owners":
            continue
        of = row["after"] or row["before"]
        mine = terms[of["kind"], of["workspace"], of["id"]]
        if mine:
            last, at = mine[-1], row["at"]
            if row["after"] and of["generation"] <= last.generation:
                problems.append(f"an older generation: {row}")
            mine[-1] = last._replace(
                ended=min(last.ended, at), forgotten=min(last.forgotten, at)
            )
        if row["operation"] == "DELETE":
            continue
        server = of["server"]
        if row["operation"] == "UPDATE":
            before = row["before"]["server"]
            if before != server and gone.get(before, 0.0) > row["at"]:
                problems.append(f"taken from a server that serves: {row}")
        over = fenced.get(server, 0.0), gone.get(server, 0.0)
        mine.append(_Term(server, of["generation"], row["at"], *over))
    return terms

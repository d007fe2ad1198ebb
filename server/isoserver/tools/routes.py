"""The part of the route table that is about tools."""

from __future__ import annotations

from typing import Final

from isoserver.http.models import ErrorModel, ValidationErrorModel
from isoserver.http.routes import Answer, Operation, Query, Route
from isoserver.tools import handlers as tools
from isoserver.tools import models

__all__ = ["TOOL_ROUTES"]

_INVALID: Final = Answer(400, "Bad request: validation error.", ValidationErrorModel)
_NO_SOURCE: Final = Answer(404, "The workspace has no such source.", ErrorModel)
_NO_POLICY: Final = Answer(404, "The workspace has added no such rule.", ErrorModel)
_NO_APPROVAL: Final = Answer(404, "The workspace has no such approval.", ErrorModel)
_TAKEN: Final = Answer(409, "The name is taken.", ErrorModel)
_FIXED: Final = Answer(409, "The source belongs to the configuration file.", ErrorModel)
_DECIDED: Final = Answer(
    409, "It has been decided otherwise, or nobody waits for it any more.", ErrorModel
)
_LARGE: Final = Answer(413, "The body is too large.", ErrorModel)
_UNREADY: Final = Answer(
    503, "The server is stopping, or its database can't be used.", ErrorModel
)
_SOURCE: Final = Answer(200, "The source.", models.SourceShownModel)
_APPROVAL: Final = Answer(200, "The approval.", models.ApprovalModel)
_GONE: Final = Answer(204, "It was deleted.")

_PAGE: Final = (
    Query(
        "limit",
        "The most items to return.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": tools.LIMIT_MAX,
            "default": tools.LIMIT,
        },
    ),
    Query(
        "offset",
        "How many to skip.",
        {
            "type": "integer",
            "minimum": 0,
            "maximum": tools.OFFSET_MAX,
            "default": 0,
        },
    ),
)


def _filter(name: str, what: str) -> Query:
    return Query(name, f"Only entries of this {what}.", {"type": "string"})


TOOL_ROUTES: Final = (
    Route(
        "/sources",
        tools.SourcesHandler,
        (
            Operation(
                "GET",
                "List the sources of tools.",
                (Answer(200, "The sources.", models.SourcesModel), _UNREADY),
            ),
            Operation(
                "POST",
                "Add a source of tools, and connect to it.",
                (
                    Answer(
                        201,
                        "The source; its state says whether it could be reached.",
                        models.SourceShownModel,
                    ),
                    _INVALID,
                    _TAKEN,
                    _LARGE,
                    _UNREADY,
                ),
                models.CreateSourceRequest,
                example={
                    "type": "mcp",
                    "name": "github",
                    "url": "https://mcp.example.com/mcp",
                },
            ),
        ),
    ),
    Route(
        "/sources/{name}",
        tools.SourceHandler,
        (
            Operation("GET", "Show a source.", (_SOURCE, _NO_SOURCE, _UNREADY)),
            Operation(
                "DELETE",
                "Delete a source.",
                (_GONE, _NO_SOURCE, _FIXED, _UNREADY),
            ),
        ),
    ),
    Route(
        "/sources/{name}/refresh",
        tools.RefreshHandler,
        (
            Operation(
                "POST",
                "List the tools of a source anew.",
                (_SOURCE, _NO_SOURCE, _UNREADY),
            ),
        ),
    ),
    Route(
        "/policies",
        tools.PoliciesHandler,
        (
            Operation(
                "GET",
                "List the rules about tools.",
                (Answer(200, "The rules.", models.PoliciesModel), _UNREADY),
            ),
            Operation(
                "POST",
                "Add a rule about tools.",
                (
                    Answer(201, "The rule.", models.PolicyModel),
                    _INVALID,
                    _LARGE,
                    _UNREADY,
                ),
                models.CreatePolicyRequest,
                example={"effect": "deny", "tool": "github.**.delete*"},
            ),
        ),
    ),
    Route(
        "/policies/{policy_id}",
        tools.PolicyHandler,
        (
            Operation(
                "DELETE", "Delete a rule that was added.", (_GONE, _NO_POLICY, _UNREADY)
            ),
        ),
    ),
    Route(
        "/approvals",
        tools.ApprovalsHandler,
        (
            Operation(
                "GET",
                "List the calls that wait for a decision, oldest first.",
                (
                    Answer(200, "The approvals.", models.ApprovalsModel),
                    _INVALID,
                    _UNREADY,
                ),
                queries=_PAGE,
            ),
        ),
    ),
    Route(
        "/approvals/{approval_id}",
        tools.ApprovalHandler,
        (
            Operation("GET", "Show an approval.", (_APPROVAL, _NO_APPROVAL, _UNREADY)),
            Operation(
                "POST",
                "Decide; the same decision again gives the same answer.",
                (_APPROVAL, _INVALID, _NO_APPROVAL, _DECIDED, _LARGE, _UNREADY),
                models.DecideRequest,
                example={"decision": "approved", "reason": "as agreed"},
            ),
        ),
    ),
    Route(
        "/audit",
        tools.AuditHandler,
        (
            Operation(
                "GET",
                "List what was requested, decided and called, newest first.",
                (
                    Answer(200, "A page of the audit.", models.AuditModel),
                    _INVALID,
                    _UNREADY,
                ),
                queries=(
                    *_PAGE,
                    _filter("task_id", "task"),
                    _filter("path", "tool"),
                    _filter("kind", "kind"),
                    _filter("outcome", "outcome"),
                ),
            ),
        ),
    ),
)

"""The routes of the cluster."""

from __future__ import annotations

from typing import Final

from isoserver.cluster import handlers, models
from isoserver.http.models import ErrorModel, ValidationErrorModel
from isoserver.http.routes import Answer, Operation, Route

__all__ = ["CLUSTER_ROUTES"]

_ADMIN: Final = Answer(403, "The caller isn't the operator.", ErrorModel)
_MISSING: Final = Answer(404, "There is no such server, or no cluster.", ErrorModel)
_UNREADY: Final = Answer(503, "The server can't do it now.", ErrorModel)

CLUSTER_ROUTES: Final = (
    Route(
        "/cluster/servers",
        handlers.ServersHandler,
        (
            Operation(
                "GET",
                "List the servers that share the database (for operators).",
                (
                    Answer(200, "The servers.", models.ClusterServersModel),
                    *(_ADMIN, _MISSING, _UNREADY),
                ),
            ),
        ),
    ),
    Route(
        "/cluster/servers/{server_id}/drain",
        handlers.DrainHandler,
        (
            Operation(
                "POST",
                "Have a server take nothing new, and give its contexts to others "
                "(for operators).",
                (
                    Answer(202, "It begins to."),
                    *(_ADMIN, _MISSING, _UNREADY),
                ),
            ),
        ),
    ),
    Route(
        "/cluster/rebalance",
        handlers.RebalanceHandler,
        (
            Operation(
                "POST",
                "Have fuller servers give some of their idle contexts to emptier ones "
                "(for operators).",
                (
                    Answer(200, "What was moved.", models.RebalancedModel),
                    *(_ADMIN, _MISSING, _UNREADY),
                ),
            ),
        ),
    ),
    Route(
        "/contexts/{context_id}/move",
        handlers.MoveHandler,
        (
            Operation(
                "POST",
                "Have a context be another server's, as it is.",
                (
                    Answer(200, "Where it is.", models.MovedContextModel),
                    Answer(400, "Bad request: validation error.", ValidationErrorModel),
                    Answer(403, "The caller is no administrator.", ErrorModel),
                    Answer(404, "There is no such context or server.", ErrorModel),
                    Answer(409, "It has to stay, at least for now.", ErrorModel),
                    _UNREADY,
                ),
                models.MoveRequest,
                example={},  # without another server, there is nowhere to go
            ),
        ),
    ),
)

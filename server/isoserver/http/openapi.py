"""The OpenAPI document, made from the route table and the models."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from isokernel._version import __version__
from isoserver.contexts import models
from isoserver.http import models as http_models
from isoserver.http.handlers import API
from isoserver.http.routes import GROUPS, Answer
from isoserver.runs import models as runs_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from isoserver.http.routes import Operation, Route

__all__ = ["make_document", "text"]

_REFERENCE: Final = "#/components/schemas/{model}"
_SCRIPT: Final = {"type": "string", "description": "The source text."}
_NAMES: Final = {
    models.ExecuteRequest: "ExecuteRequest",
    models.StreamRequest: "ExecuteAsyncRequest",
    models.ExecutionModel: "Execution",
    models.ContextModel: "Context",
    models.ContextsModel: "Contexts",
    runs_models.TaskFailure: "TaskError",
    http_models.ErrorModel: "ErrorResponse",
    http_models.ValidationErrorModel: "ValidationErrorResponse",
}
"""Names of the documented API where ours differ."""


_PARAMETERS: Final = {
    "task_id": "The task.",
    "context_id": "The context's id.",
    "execution_id": "The execution's id, as its answer or its first event has told it.",
    "path": "The path in the context's folder, which may have slashes.",
    "id": "The execution's id.",
    "key": "The heap's key: 64 lower-case hex digits.",
    "session": "The session's name.",
    "name": "The source's name.",
    "policy_id": "The rule's id.",
    "approval_id": "The approval's id.",
    "server_id": "The server's id.",
    "platform": "What the client shall run on.",
}


def make_document(routes: Sequence[Route]) -> dict[str, Any]:
    """Make the document of a route table."""
    schemas = _schemas(routes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "isokernel",
            "version": __version__,
            "description": (
                "Persistent contexts that run JavaScript, TypeScript and Python. Code "
                "that fails is answered with 200 and an `error`."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": text} for name, text in GROUPS.items()],
        "paths": {route.path: _path(route) for route in routes},
        "components": {
            "schemas": schemas,
            "headers": {"Owner": _OWNER},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def text(routes: Sequence[Route]) -> str:
    """Return the document as docs/openapi.json has it."""
    return json.dumps(make_document(routes), indent=2, ensure_ascii=False) + "\n"


def _schemas(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the models' schemas, under the names of the API."""
    used: list[type[BaseModel]] = [models.StreamEvent]
    for route in routes:
        for operation in route.operations:
            used += [operation.request] if operation.request else []
            used += [answer.model for answer in operation.answers if answer.model]
    unique = list(dict.fromkeys(used))
    _, made = models_json_schema(
        [(model, "validation") for model in unique], ref_template=_REFERENCE
    )
    renamed = json.dumps(made["$defs"])
    for model, name in _NAMES.items():
        renamed = renamed.replace(f'/{model.__name__}"', f'/{name}"')
    definitions: dict[str, Any] = json.loads(renamed)
    names = {model.__name__: name for model, name in _NAMES.items()}
    named = {names.get(name, name): schema for name, schema in definitions.items()}
    for schema in named.values():
        schema.pop("title", None)
        for part in schema.get("properties", {}).values():
            part.pop("title", None)
    return dict(sorted(named.items()))


def _name(model: type[BaseModel]) -> str:
    return _REFERENCE.format(model=_NAMES.get(model, model.__name__))


def _path(route: Route) -> dict[str, Any]:
    made = {}
    for operation in route.operations:
        described = _operation(route, operation)
        if _is_passed_on(route, operation):
            for status, said in described["responses"].items():
                if int(status) < HTTPStatus.BAD_REQUEST:
                    said["headers"] = _OWNED
        made[operation.method.lower()] = described
    return made


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    words = re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "one", route.path))
    made: dict[str, Any] = {
        "operationId": "_".join([operation.method.lower(), *words]),
        "summary": operation.summary,
        "tags": [route.group],
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS[name],
            "schema": {"type": "string"},
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [
        {"in": "query", "required": False, **query._asdict()}
        for query in operation.queries
    ]
    if parameters:
        made["parameters"] = parameters
    if operation.request is not None:
        schema = {"$ref": _name(operation.request)}
        content: dict[str, Any] = {
            "application/json": {"schema": schema, "example": operation.example}
        }
        for kind in operation.texts:
            content[kind] = {"schema": _SCRIPT, "example": operation.example["code"]}
        made["requestBody"] = {
            "required": not operation.body_optional,
            "content": content,
        }
    if operation.raw:
        schema = {"type": "string", "format": "binary"}
        made["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": schema}},
        }
    errors = list(_ERRORS)
    if not route.handler.public:
        made["security"] = [{}, {"bearer": []}, {"key": []}]
        errors += _DENIED
    if _is_passed_on(route, operation):
        errors.append(_LOST)
    error_model = _error_model(route)
    answers = [
        *operation.answers,
        *(error._replace(model=error_model) for error in errors),
    ]
    # What an operation says of its own statuses is said first, and holds.
    known = {answer.status: answer for answer in reversed(answers)}
    made["responses"] = {
        str(answer.status): _answer(answer)
        for answer in sorted(known.values(), key=_order)
    }
    return made


def _error_model(route: Route) -> type[BaseModel]:
    """Return the form of errors, which is another one under /api."""
    return (
        http_models.ApiError if route.path.startswith(API) else http_models.ErrorModel
    )


def _is_passed_on(route: Route, operation: Operation) -> bool:
    """Whether another server may answer, as it has what is asked for, or room."""
    if operation.method == "POST" and route.path in _BEGINNINGS:
        return True
    return _OF_ONE_SERVER.search(route.path) is not None


_BEGINNINGS: Final = {"/execute", "/execute/async", "/contexts", "/api/exec", "/tasks"}
_OF_ONE_SERVER: Final = re.compile(r"/(contexts|tasks|api/executions)/\{")
_OWNER: Final = {
    "description": "In a cluster, the URL of the server that has it: a hint, by which "
    "the way through another one is saved.",
    "schema": {"type": "string", "format": "uri"},
}
_OWNED: Final = {"X-Isokernel-Owner": {"$ref": "#/components/headers/Owner"}}
_LOST: Final = Answer(
    502,
    "Another server of the cluster was lost before it had answered: it may be done or "
    "not.",
)
_ERRORS: Final = (
    Answer(403, "It isn't allowed: the Host, the Origin, or to you."),
    Answer(431, "The headers are too large."),
)
_DENIED: Final = (
    Answer(400, "The workspace isn't clear, or a key is in the URL."),
    Answer(401, "An API key or token is needed."),
    Answer(429, "Too much was asked; Retry-After says when to come back."),
    Answer(
        503,
        "The server can't serve it now; X-Error-Code says why, and Retry-After, when "
        "to come back.",
    ),
)


def _order(answer: Answer) -> int:
    return answer.status


def _answer(answer: Answer) -> dict[str, Any]:
    made: dict[str, Any] = {"description": answer.description}
    if answer.model is not None:
        schema: dict[str, Any] = {"$ref": _name(answer.model)}
        made["content"] = {answer.media: {"schema": schema}}
    elif answer.media == "text/event-stream":
        made["content"] = {answer.media: {}}  # no schema can say what its frames are
    elif answer.media != "application/json":
        made["content"] = {answer.media: {"schema": {"type": "string"}}}
    elif answer.status == 200:  # noqa: PLR2004 - the one of this document
        made["content"] = {answer.media: {"schema": {"type": "object"}}}
    return made

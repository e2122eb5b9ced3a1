"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException

from lift_core.errors import LiftError, NotFoundError, NotServableError, StateError, TransientError
from lift_core.records import Record

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
# The first class that fits counts.
_STATUS_OF = (
    (NotFoundError, 404),
    (NotServableError, 409),
    (StateError, 409),
    (TransientError, 503),
    (LiftError, 400),
)
_MEANING = {
    400: "What was asked for cannot be: the detail says why",
    401: "Nobody is signed in, or the token is not valid",
    403: "The user may not do this, or the request may come from another site's page",
    404: "There is none of that name",
    409: "The state of the thing does not allow it",
    412: "It is not any more, or not yet, what the condition says: read it again",
    415: "The body is not application/json",
    422: "A parameter or the body is not what the schema says",
    428: "If-Match or If-None-Match is missing",
    503: "The database or the object store does not answer; try again after the seconds in Retry-After",
}


class Problem(Record):
    """What went wrong."""

    title: str
    """The status in words."""
    detail: str
    """What went wrong with which thing, and the remedy."""
    status: int = Field(ge=400, le=599)


SCHEMA = Problem.model_json_schema()


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's schema says about these errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Let an application answer errors as problems."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(LiftError, _lift_error)


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    problem = Problem(title=HTTPStatus(status).phrase, detail=detail, status=status)
    return Response(
        problem.model_dump_json(),
        status,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException alone") from error
    headers = dict(error.headers or {})
    if error.status_code == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return _problem(error.status_code, str(error.detail), headers)


def _validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise TypeError("registered for RequestValidationError alone") from error
    # The values themselves are not repeated: some of what is refused cannot be written as JSON.
    wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return _problem(422, "; ".join(wrong))


def _lift_error(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS_OF if isinstance(error, kind))
    return _problem(status, str(error), {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None)

"""Errors as OpenAI's clients expect them: ``{"error": {"message", "type", "code", "param"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from lift_core.errors import LiftError, NotFoundError, NotServableError, TransientError

RETRY_SECONDS = 5
_CLIENT_GONE = 499
"""Nobody reads it; it is what web servers log for a client that left."""
_TYPES = {401: "authentication_error", 403: "permission_error"}


class Refusal(LiftError):
    """A request that the gateway does not answer: the HTTP status, and a code for programs."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": str(self), "type": kind, "code": self.code, "param": self.param}
        return {"error": error}

    def answer(self) -> JSONResponse:
        """The answer. OpenAI's clients repeat a 409 or a 5xx by themselves unless they are told not to."""
        headers = {"x-should-retry": "false"}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == 503:
            headers = {"Retry-After": str(RETRY_SECONDS)}
        return JSONResponse(self.body(), self.status, headers)


def handlers() -> Mapping[Any, ExceptionHandler]:
    """What an application answers when a route raises."""
    return {
        LiftError: _lift_error,
        HTTPException: _http_error,
        ClientDisconnect: _client_gone,
        Exception: _unexpected,
    }


def refusal_of(error: LiftError) -> Refusal:
    """What a client is told of an error of the registry."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotFoundError):
        return Refusal(404, "model_not_found", str(error), "model")
    if isinstance(error, NotServableError):
        return Refusal(403, f"adapter_{error.state}", str(error), "model")
    if isinstance(error, TransientError):
        return Refusal(503, "service_unavailable", str(error))
    return Refusal(400, "invalid_request", str(error))


def _lift_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LiftError):
        raise TypeError("registered for LiftError alone") from error
    return refusal_of(error).answer()


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for HTTPException alone") from error
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = f"{request.method} {request.url.path}: {error.detail}"
    answer = Refusal(error.status_code, code, message).answer()
    answer.headers.update(error.headers or {})
    return answer


def _client_gone(request: Request, error: Exception) -> Response:
    structlog.get_logger("lift").info("the client left before it was answered", path=request.url.path)
    return Response(status_code=_CLIENT_GONE)


def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs the error itself, with its traceback, after this answer.
    return Refusal(500, "internal_error", "the gateway failed; its log has the cause").answer()

"""Answers: a record as JSON or a report as HTML under its ETag, and the way to the next page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from fastapi import Request, Response

from lift_core.api.conditions import matches
from lift_core.records import Record

_HEADERS = {
    # What one user may read is not for a cache that others share; a browser asks again each time.
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
}
# A report has its style and plots within itself. Titles and answers in it were written by anybody.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)


def answer(
    request: Request, body: Record, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A record as JSON with its ETag; 304 without it where the client says that it has it."""
    return _answer(request, body.model_dump_json().encode(), "application/json", status, headers or {})


def html_answer(request: Request, content: bytes) -> Response:
    """A report as HTML with its ETag: a browser runs nothing of it, and asks nobody for anything.

    304 without it where the client says that it has it.
    """
    headers = {"Content-Security-Policy": _REPORT_POLICY, "Referrer-Policy": "no-referrer"}
    return _answer(request, content, "text/html; charset=utf-8", 200, headers)


def etag_of(body: Record) -> str:
    """The strong ETag under which a record is answered."""
    return _etag(body.model_dump_json().encode())


def path_of(request: Request, route: str, **names: str) -> str:
    """The path of a route as the client sees it, wherever the application is mounted."""
    return quote(request.scope["root_path"] + request.app.url_path_for(route, **names))


def next_link(request: Request, route: str, cursor: str | None) -> dict[str, str]:
    """The ``Link`` header of a page that is not the last one."""
    if cursor is None:
        return {}
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    query = urlencode([*kept, ("cursor", cursor)])
    return {"Link": f'<{path_of(request, route)}?{query}>; rel="next"'}


def _answer(
    request: Request, content: bytes, media_type: str, status: int, headers: Mapping[str, str]
) -> Response:
    whole = {**_HEADERS, "ETag": _etag(content), **headers}
    known: str | None = getattr(request.state, "known_etags", None)
    if known is not None and matches(known, whole["ETag"], weak=True):
        return Response(status_code=304, headers=whole)
    return Response(content, status, whole, media_type=media_type)


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'

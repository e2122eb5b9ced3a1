"""The application: its routes, who may call them, and its schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.params import Depends as Dependency
from fastapi.responses import JSONResponse

from lift_core import __version__
from lift_core.api import adapters, aliases, documents, metrics, problems, verdicts
from lift_core.api.conditions import refuse_cross_site
from lift_core.registry import AdapterRegistry

API = "/api/v1"
_DESCRIPTION = """
What `lift adapters` and `lift docs` tell, over HTTP.

- **Pages**: a list has at most `limit` entries, newest first; ask for `next_cursor`, or follow the `Link`
  header, until there is none.
- **ETags**: every answer to GET has one. `If-None-Match` spares the body: 304. Moving or removing an alias
  asks for the ETag of what was read in `If-Match`, so that nobody overwrites a move they have not seen.
- **Errors** are `application/problem+json`.
- **Writes** come with a bearer token. With a session's cookie alone they also need the header
  `X-Requested-With`, which another site's page cannot send.
"""


def create_app(
    registry: Callable[[], AdapterRegistry],
    readers: Sequence[Dependency],
    writers: Sequence[Dependency],
    read_report: Callable[[str], bytes] | None = None,
    airflow_url: str = "",
) -> FastAPI:
    """The registry's REST API, to be mounted or served as it is.

    ``registry`` is called for every request and should return the same pooled registry each time.
    ``readers`` are dependencies of every route, also of routes that are added later: each raises an
    ``HTTPException`` for whoever may not read. ``writers`` are asked on top by every route that changes
    something. ``read_report`` reads an object of the work bucket by its key, and raises ``NotFoundError``
    where there is none; without it the guard's reports are not shown. ``airflow_url`` is the base address of
    Airflow's UI, for links to runs and logs; without it there are none.
    """
    # FastAPI's own pages and its schema do not ask the dependencies: they are off, and the schema is a
    # route like the others.
    app = FastAPI(
        title="LIFT registry",
        version=__version__,
        description=_DESCRIPTION,
        dependencies=[*readers],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=problems.responses(401, 403, 422, 503),
    )
    app.state.registry = registry
    app.state.read_report = read_report
    app.state.airflow_url = airflow_url
    problems.install(app)
    # A path of `verdicts` ends as no other one does, and the last one of `adapters` takes every path.
    for room in (verdicts, adapters, aliases, documents):
        app.include_router(room.reading, prefix=API)
    app.include_router(metrics.reading)
    for room in (adapters, aliases):
        app.include_router(room.writing, prefix=API, dependencies=[*writers, Depends(refuse_cross_site)])

    @app.get(f"{API}/openapi.json", include_in_schema=False)
    def schema(request: Request) -> JSONResponse:
        """This API's OpenAPI schema."""
        return JSONResponse(app.openapi() | {"servers": [{"url": request.scope["root_path"] or "/"}]})

    app.openapi = _with_problems(app.openapi)  # type: ignore[method-assign]
    return app


def _with_problems(openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The schema with the component that the documented errors refer to."""

    def whole() -> dict[str, Any]:
        schema = openapi()
        schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = problems.SCHEMA
        return schema

    return whole

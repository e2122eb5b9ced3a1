"""Routes about what the forgetting guard found."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse

from lift_core.api.answers import answer, html_answer
from lift_core.api.conditions import remember_known_etags
from lift_core.api.parameters import Name, Registry, RunName
from lift_core.api.problems import responses
from lift_core.errors import NotFoundError
from lift_core.evaluation_records import AdapterVerdict
from lift_core.records import Record
from lift_core.registry.browsing import MAX_PAGE
from lift_core.store import layout

reading = APIRouter(tags=["verdicts"], dependencies=[Depends(remember_known_etags)], responses={304: {}})

_REPORT = "report.html"


class Verdicts(Record):
    """What the guard found about one adapter, newest first."""

    verdicts: tuple[AdapterVerdict, ...]


@reading.get("/adapters/{name:path}/verdicts", response_model=Verdicts, responses=responses(404))
def list_verdicts(
    request: Request,
    registry: Registry,
    name: Name,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> Response:
    """List the forgetting guard's verdicts on an adapter, newest first, with their measurements."""
    found = registry.adapter(name)
    return answer(request, Verdicts(verdicts=registry.verdicts(found.name, limit)))


@reading.get(
    "/adapters/{name:path}/verdicts/{run:path}/report",
    response_class=HTMLResponse,
    responses=responses(404),
)
def show_report(request: Request, registry: Registry, name: Name, run: RunName) -> Response:
    """Show the report of one run of the forgetting guard about an adapter, as a page for people."""
    verdict = registry.verdict(registry.adapter(name).name, run)
    which = f"the report of run '{verdict.run}' about adapter '{verdict.adapter}'"
    read_report = request.app.state.read_report
    if read_report is None:
        raise NotFoundError(f"{which} is not here: this server was given no object store")
    if verdict.report is None:
        raise NotFoundError(f"{which} was not written: the verdict itself has what was measured")
    try:
        content = read_report(f"{verdict.report}{_REPORT}")
    except NotFoundError as error:
        raise NotFoundError(f"{which} is not in the object store any more: {error}") from error
    return html_answer(request, content)


@reading.get("/verdicts/{run:path}/report", response_class=HTMLResponse, responses=responses(404))
def show_run_report(request: Request, run: RunName) -> Response:
    """Show the report of a whole run of the forgetting guard, as a page for people."""
    read_report = request.app.state.read_report
    if read_report is None:
        raise NotFoundError("the reports of runs are not here: this server was given no object store")
    try:
        content = read_report(f"{layout.run_report_prefix(run)}{_REPORT}")
    except NotFoundError as error:
        raise NotFoundError(f"there is no report of a run '{run}'") from error
    return html_answer(request, content)

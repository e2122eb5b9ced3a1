"""Routes about adapters."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from lift_core.api.answers import answer, next_link, path_of
from lift_core.api.conditions import remember_known_etags
from lift_core.api.parameters import (
    AdapterName,
    AdapterQuery,
    Justification,
    Name,
    OptionalJustification,
    Registry,
    TagChanges,
    body_schema,
    json_body,
)
from lift_core.api.problems import responses
from lift_core.records import AdapterPage, AdapterRecord, Event, Lineage, Record
from lift_core.registry.browsing import MAX_PAGE

reading = APIRouter(tags=["adapters"], dependencies=[Depends(remember_known_etags)], responses={304: {}})
writing = APIRouter(tags=["adapters"], responses=responses(404, 409, 415))


class Events(Record):
    """What happened to one thing, newest first."""

    events: tuple[Event, ...]


class Quarantined(Record):
    """An adapter that is out of service now, and what serves instead."""

    adapter: AdapterRecord
    instead: str | None
    """The adapter that its aliases point to now; null where there is none."""


@reading.get("/adapters", response_model=AdapterPage, responses=responses(400))
def list_adapters(
    request: Request,
    registry: Registry,
    query: Annotated[AdapterQuery, Query()],
) -> Response:
    """List adapters, newest first."""
    page = registry.adapters(query.as_filter(), query.limit, query.cursor)
    return answer(request, page, headers=next_link(request, "list_adapters", page.next_cursor))


# A document's key may hold slashes, so the shorter paths are asked first. A document whose key ends like
# one of them is found by its slug.
@reading.get("/adapters/{name:path}/lineage", response_model=Lineage, responses=responses(404))
def show_lineage(request: Request, registry: Registry, name: Name) -> Response:
    """Show where an adapter comes from: document, recipe, pairs, generator, base model, run, provenance."""
    return answer(request, registry.lineage(name))


@reading.get("/adapters/{name:path}/events", response_model=Events, responses=responses(404))
def list_events(
    request: Request,
    registry: Registry,
    name: Name,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> Response:
    """List what happened to an adapter, newest first."""
    found = registry.adapter(name)
    return answer(request, Events(events=tuple(registry.events(found.name, limit))))


@reading.get("/adapters/{name:path}", response_model=AdapterRecord, responses=responses(404))
def show_adapter(request: Request, registry: Registry, name: Name) -> Response:
    """Show an adapter by its name, an alias or its document; Content-Location has its immutable name."""
    found = registry.adapter(name)
    return answer(
        request, found, headers={"Content-Location": path_of(request, "show_adapter", name=found.name)}
    )


@writing.patch(
    "/adapters/{name:path}/tags",
    response_model=AdapterRecord,
    responses=responses(400),
    openapi_extra=body_schema(TagChanges),
)
def change_tags(
    request: Request,
    registry: Registry,
    name: AdapterName,
    changes: Annotated[TagChanges, Depends(json_body(TagChanges))],
) -> Response:
    """Set or remove an adapter's tags."""
    return answer(request, registry.tag(name, changes.root))


@writing.post(
    "/adapters/{name:path}/quarantine", response_model=Quarantined, openapi_extra=body_schema(Justification)
)
def quarantine_adapter(
    request: Request,
    registry: Registry,
    name: AdapterName,
    why: Annotated[Justification, Depends(json_body(Justification))],
) -> Response:
    """Take an adapter out of service; its aliases go back to the last good one, or are removed."""
    instead = registry.quarantine(name, why.reason)
    return answer(request, Quarantined(adapter=registry.adapter(name), instead=instead))


@writing.post(
    "/adapters/{name:path}/release", response_model=AdapterRecord, openapi_extra=body_schema(Justification)
)
def release_adapter(
    request: Request,
    registry: Registry,
    name: AdapterName,
    why: Annotated[Justification, Depends(json_body(Justification))],
) -> Response:
    """Let a quarantined or archived adapter answer again, under its own name."""
    return answer(request, registry.release(name, why.reason))


@writing.post(
    "/adapters/{name:path}/archive",
    response_model=AdapterRecord,
    openapi_extra=body_schema(OptionalJustification),
)
def archive_adapter(
    request: Request,
    registry: Registry,
    name: AdapterName,
    why: Annotated[OptionalJustification, Depends(json_body(OptionalJustification))],
) -> Response:
    """Put an adapter away that no alias points to: it does not answer any more; its files stay."""
    registry.archive(name, why.reason)
    return answer(request, registry.adapter(name))

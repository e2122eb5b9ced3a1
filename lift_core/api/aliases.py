"""Routes about aliases: what they point to, and moves that nobody overwrites unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import Field

from lift_core.api.answers import answer, etag_of, next_link
from lift_core.api.conditions import IfMatch, IfNoneMatch, matches, remember_known_etags
from lift_core.api.parameters import AliasName, Page, Registry, Target, Text, body_schema, json_body
from lift_core.api.problems import responses
from lift_core.records import AliasRecord, Record

reading = APIRouter(tags=["aliases"], dependencies=[Depends(remember_known_etags)], responses={304: {}})
writing = APIRouter(tags=["aliases"], responses=responses(400, 404, 412, 428))


class AliasQuery(Page):
    """Which aliases, and which page of them."""

    document: Annotated[Text | None, Field(description="A document's slug")] = None


class AliasPage(Record):
    """Some aliases by name, and where the next page begins; null at the end."""

    aliases: tuple[AliasRecord, ...]
    next_cursor: str | None


@reading.get("/aliases", response_model=AliasPage)
def list_aliases(request: Request, registry: Registry, query: Annotated[AliasQuery, Query()]) -> Response:
    """List aliases by name."""
    found = registry.aliases(query.document, query.limit + 1, after=query.cursor)
    more = len(found) > query.limit
    page = AliasPage(
        aliases=tuple(found[: query.limit]), next_cursor=found[query.limit - 1].name if more else None
    )
    return answer(request, page, headers=next_link(request, "list_aliases", page.next_cursor))


@reading.get("/aliases/{alias}", response_model=AliasRecord, responses=responses(404))
def show_alias(request: Request, registry: Registry, alias: AliasName) -> Response:
    """Show what an alias points to; the ETag is what a move must name."""
    return answer(request, registry.alias(alias))


@writing.put(
    "/aliases/{alias}",
    response_model=AliasRecord,
    responses=responses(409, 415) | {201: {"model": AliasRecord}},
    openapi_extra=body_schema(Target),
)
def set_alias(
    request: Request,
    registry: Registry,
    alias: AliasName,
    target: Annotated[Target, Depends(json_body(Target))],
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Let an alias point to a proven adapter of its document, from the next request on.

    `<slug>` and `<slug>@champion` are one thing under two names and move together.
    """
    check = _condition(alias, if_match, if_none_match)
    registry.set_alias(alias, target.adapter, check=check)
    # Whoever moved it again meanwhile shows in the answer, and in its ETag.
    return answer(request, registry.alias(alias), 200 if if_none_match is None else 201)


@writing.delete("/aliases/{alias}", status_code=204, response_class=Response)
def remove_alias(
    registry: Registry, alias: AliasName, if_match: IfMatch = None, if_none_match: IfNoneMatch = None
) -> None:
    """Remove an alias; an adapter that loses its last one answers under its own name alone."""
    registry.remove_alias(alias, check=_condition(alias, if_match, if_none_match))


def _condition(
    alias: str, if_match: str | None, if_none_match: str | None
) -> Callable[[AliasRecord | None], None]:
    """A check of what an alias is now, to be made within the transaction that moves it.

    The check raises 412 where the alias is not what the client says that it read.

    Raises:
        HTTPException: 428, the client says nothing.
    """
    if if_match is None and if_none_match is None:
        raise HTTPException(
            428,
            f"say what alias '{alias}' is now: If-Match with the ETag of GET aliases/{alias}, or "
            "If-None-Match: * if there is none",
        )

    def check(now: AliasRecord | None) -> None:
        etag = None if now is None else etag_of(now)
        changed = if_match is not None and (etag is None or not matches(if_match, etag))
        unwanted = if_none_match is not None and etag is not None and matches(if_none_match, etag, weak=True)
        if not changed and not unwanted:
            return
        if now is None:
            raise HTTPException(412, f"there is no alias '{alias}': If-None-Match: * creates it")
        raise HTTPException(
            412,
            f"alias '{alias}' points to {now.adapter} since {now.moved_at.isoformat()}: if it should still "
            f"move, send the ETag of GET aliases/{alias} in If-Match",
        )

    return check

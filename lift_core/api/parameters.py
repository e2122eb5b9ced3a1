"""What routes take: names, filters, pages, bodies. What the database cannot store ends here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    Field,
    RootModel,
    StringConstraints,
    ValidationError,
)

from lift_core.errors import LiftError
from lift_core.records import AdapterFilter, AdapterState, Record
from lift_core.registry import AdapterRegistry, parse_score_condition
from lift_core.registry.browsing import MAX_PAGE, PAGE

Body = TypeVar("Body", bound=BaseModel)

# PostgreSQL stores no NUL. The bounds are those of an object's key, and of what one lexeme may be.
_NO_NUL = r"^[^\x00]*$"
_MAX_NAME = 1024
_MAX_WORDS = 500
_MAX_CONDITIONS = 16

Text = Annotated[str, StringConstraints(pattern=_NO_NUL, max_length=_MAX_NAME)]
Words = Annotated[str, StringConstraints(pattern=_NO_NUL, max_length=_MAX_WORDS)]
Reason = Annotated[str, StringConstraints(pattern=_NO_NUL, min_length=1, max_length=1000)]
Condition = Annotated[str, StringConstraints(pattern=_NO_NUL, max_length=2 * _MAX_NAME)]

Name = Annotated[
    Text,
    Path(description="An adapter's name, an alias or a document's key", examples=["report-v1", "report"]),
]
AdapterName = Annotated[
    Text, Path(description="An adapter's immutable name", examples=["report-v1", "report-v2"])
]
RunName = Annotated[
    Text,
    Path(description="A run of the guard", examples=["scheduled__2026-01-01T00:00:00+00:00", "manual-1"]),
]
AliasName = Annotated[
    Text,
    Path(
        max_length=255,
        description="`<slug>`, or `<slug>@<label>`",
        examples=["report", "report@champion", "report@stable"],
    ),
]
DocumentName = Annotated[Text, Path(description="A document's key or slug", examples=["report.md", "report"])]


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


# PostgreSQL knows fewer offsets than ISO 8601, so only UTC reaches it.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many entries a page has at most")]
Cursor = Annotated[Text | None, Field(description="`next_cursor` of the page before")]


class Page(Record):
    """Which page of a list."""

    limit: Limit = PAGE
    cursor: Cursor = None


class AdapterQuery(Page):
    """Which adapters, and which page of them."""

    document: Annotated[Text | None, Field(description="A document's key or slug")] = None
    base_model: Text | None = None
    recipe: Annotated[Text | None, Field(description="A recipe's digest, or its first characters")] = None
    state: Annotated[
        tuple[AdapterState, ...],
        Field(max_length=_MAX_CONDITIONS, description="Any of them; none given: all but `removed`"),
    ] = ()
    since: Annotated[Moment | None, Field(description="Created then or later; with an offset")] = None
    until: Annotated[Moment | None, Field(description="Created before; with an offset")] = None
    tag: Annotated[
        tuple[Condition, ...],
        Field(max_length=_MAX_CONDITIONS, description="`key:value` or `key=value`; each must hold"),
    ] = ()
    score: Annotated[
        tuple[Condition, ...],
        Field(max_length=_MAX_CONDITIONS, description="`gain>=1.5`; also > < <= =; each must hold"),
    ] = ()
    text: Annotated[
        Words | None,
        Field(description="Words that the title must hold, as for a web search: `steam -engine`"),
    ] = None

    def as_filter(self) -> AdapterFilter:
        """The registry's filter.

        Raises:
            LiftError: a condition on a tag or a score does not read as one.
        """
        return AdapterFilter(
            document=self.document,
            base_model=self.base_model,
            recipe=self.recipe,
            states=tuple(self.state),
            since=self.since,
            until=self.until,
            tags=dict(_split_tag(words) for words in self.tag),
            scores=tuple(parse_score_condition(words) for words in self.score),
            text=self.text,
        )


class Target(Record):
    """Where an alias is to point."""

    adapter: Text


class Justification(Record):
    """Why something is done; it stands in the event."""

    reason: Reason


class OptionalJustification(Record):
    """Why something is done, if there is more to say; it stands in the event."""

    reason: Reason | None = None


class TagChanges(RootModel[dict[str, str | None]]):
    """Tags to set, by key; null removes the tag. Tags that are not named stay."""


async def connected(request: Request) -> AdapterRegistry:
    """The application's registry."""
    registry: AdapterRegistry = request.app.state.registry()
    return registry


Registry = Annotated[AdapterRegistry, Depends(connected)]


def json_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads a request's JSON body.

    FastAPI's own body parameters are parsed before any dependency is asked: who is not signed in would be
    told what is wrong with the body. They also take JSON that Python's parser alone accepts.
    """

    async def read(request: Request) -> Body:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "the body must be JSON, with Content-Type: application/json")
        try:
            return model.model_validate_json(await request.body())
        except ValidationError as error:
            wrong = [{"loc": ("body", *each["loc"]), "msg": each["msg"]} for each in error.errors()]
            raise RequestValidationError(wrong) from error

    return read


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What a route's schema says about the body that :func:`json_body` reads."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def _split_tag(words: str) -> tuple[str, str]:
    # A key holds neither of the two, so the first one ends it.
    ends = [place for place in (words.find(":"), words.find("=")) if place > 0]
    if not ends:
        raise LiftError(f"'{words}' is no condition on a tag; write it like owner=ada")
    return words[: min(ends)], words[min(ends) + 1 :]

"""Benchmark ``registry``: how long the questions take that people ask it most, among a million adapters.

Every question goes through the Python API over one pooled connection, each time with other values, and its
time includes making the records. The plans are those of the very statements that were timed.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event, text

from lift_core.benchmarks.registry_data import (
    ADAPTERS_PER_DOCUMENT,
    COMMON_BASE_MODEL,
    COMMON_WORD,
    RARE_BASE_MODEL,
    load,
    scratch_database,
)
from lift_core.benchmarks.report import Report
from lift_core.errors import ServiceUnavailableError
from lift_core.records import AdapterFilter, ScoreCondition
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings

DOCUMENTS = 200_000
QUICK_DOCUMENTS = 20_000
CALLS = 300
DEEP_PAGE = 100
_AIM_MS = 20.0
_ALIAS_AIM_MS = 2.0
_WARM_UP = 20
_SEED = 0
_FIRST_DAY = datetime(2023, 1, 1, tzinfo=UTC)
_DAYS = 1095

Statement = tuple[str, Any]


@dataclass(frozen=True)
class Question:
    """Something that is asked of the registry; ``ask`` draws its values from the dice."""

    name: str
    ask: Callable[[random.Random], object]
    aim_ms: float = _AIM_MS


def run(settings: Settings, *, quick: bool, on_progress: Callable[[str], None]) -> tuple[Report, str]:
    """Fill a scratch database on the registry's server, ask, and drop it.

    ``quick``: a tenth of the size. Returns the report, times in milliseconds, and a Markdown page with
    the plan of every statement.

    Raises:
        ServiceUnavailableError: no registry is named, or its server does not answer.
        LiftError: the role of ``LIFT_DATABASE_URL`` may not create databases.
    """
    url = settings.database_url.get_secret_value()
    if not url:
        raise ServiceUnavailableError("no registry is named: run `lift up`, or set LIFT_DATABASE_URL")
    documents = QUICK_DOCUMENTS if quick else DOCUMENTS
    with scratch_database(url) as engine:
        load(engine, documents, on_progress)
        rows, plans = measure(engine, CALLS, on_progress)
        version, size = _server(engine)
    report = Report(
        name="registry",
        settings={
            "documents": documents,
            "adapters": documents * ADAPTERS_PER_DOCUMENT,
            "PostgreSQL": version,
            "database": size,
            "connections": 1,
        },
        rows=rows,
    )
    return report, plans


def measure(
    engine: Engine, calls: int, on_progress: Callable[[str], None]
) -> tuple[list[dict[str, object]], str]:
    """Ask every question ``calls`` times; the report's rows and the page of plans."""
    registry = AdapterRegistry(engine)
    page = ["# Query plans of `lift bench registry`", "", "Each statement as it was last timed."]
    found = []
    for question in _questions(registry, engine):
        on_progress(question.name)
        # Not for secrets: every run draws the same values.
        dice = random.Random(f"{_SEED} {question.name}")  # noqa: S311
        for _ in range(min(_WARM_UP, calls)):
            question.ask(dice)
        milliseconds = []
        for _ in range(calls):
            began = time.perf_counter()
            question.ask(dice)
            milliseconds.append((time.perf_counter() - began) * 1000)
        found.append(_row(question, milliseconds))
        page += ["", f"## {question.name}", *_plans(engine, question, dice)]
    return found, "\n".join(page) + "\n"


def _questions(registry: AdapterRegistry, engine: Engine) -> Sequence[Question]:
    names = _sample(engine, "SELECT name FROM adapters ORDER BY hashint8(id) LIMIT 2000")
    slugs = _sample(engine, "SELECT slug FROM documents ORDER BY hashint8(id) LIMIT 2000")
    served = "FROM documents d JOIN aliases l ON l.name = d.slug ORDER BY hashint8(d.id) LIMIT 2000"
    aliases = _sample(engine, f"SELECT d.slug {served}")
    keys = _sample(engine, f"SELECT d.key {served}")
    rare_words = _sample(engine, "SELECT word(n) FROM generate_series(6000, 7999) n")
    middle_words = _sample(engine, "SELECT word(n) FROM generate_series(50, 500) n")
    deep = _cursor_of_page(registry, AdapterFilter(), DEEP_PAGE)
    deep_active = _cursor_of_page(registry, AdapterFilter(states=("active",)), DEEP_PAGE)

    def page(
        name: str, draw: Callable[[random.Random], dict[str, Any]], cursor: str | None = None
    ) -> Question:
        return Question(
            f"ls, {name}", lambda dice: registry.adapters(AdapterFilter(**draw(dice)), cursor=cursor)
        )

    def score(name: str, least: float) -> dict[str, Any]:
        return {"scores": (ScoreCondition(score=name, comparison=">=", value=least),)}

    def days(dice: random.Random, count: int) -> dict[str, Any]:
        since = _FIRST_DAY + timedelta(days=dice.randrange(_DAYS - count))
        return {"since": since, "until": since + timedelta(days=count)}

    def team(dice: random.Random) -> dict[str, Any]:
        return {"tags": {"team": f"team-{dice.randrange(8)}"}}

    return [
        page("no filter", lambda _: {}),
        page(f"no filter, page {DEEP_PAGE}", lambda _: {}, deep),
        page("document", lambda dice: {"document": dice.choice(slugs)}),
        page("base model, common", lambda _: {"base_model": COMMON_BASE_MODEL}),
        page("base model, rare", lambda _: {"base_model": RARE_BASE_MODEL}),
        page("state active", lambda _: {"states": ("active",)}),
        page(f"state active, page {DEEP_PAGE}", lambda _: {"states": ("active",)}, deep_active),
        page("state removed", lambda _: {"states": ("removed",)}),
        page("two states", lambda _: {"states": ("quarantined", "rejected")}),
        page("one day", lambda dice: days(dice, 1)),
        page("30 days", lambda dice: days(dice, 30)),
        page("since 30 days before the end", lambda _: {"since": _FIRST_DAY + timedelta(days=_DAYS - 30)}),
        page("until 30 days after the start", lambda _: {"until": _FIRST_DAY + timedelta(days=30)}),
        page("tag, common", team),
        page("tag, rare", lambda dice: {"tags": {"ticket": f"T-{dice.randrange(100)}"}}),
        # The value is common under another key, so that each column's statistics alone mislead.
        page("tag, rare value of a common key", lambda _: {"tags": {"approved": "yes"}}),
        page("score, selective", lambda dice: score("gain", 3.4999 - dice.random() / 10_000)),
        page("score, met by one in 100", lambda dice: score("gain", 3.46 - dice.random() / 100)),
        page("score, met by one in 1,000", lambda dice: score("gain", 3.496 - dice.random() / 1000)),
        page("score, unselective", lambda dice: score("gain", dice.random())),
        page("text, common word", lambda _: {"text": COMMON_WORD}),
        page("text, rare word", lambda dice: {"text": dice.choice(rare_words)}),
        page("text, two words", lambda dice: {"text": f"{COMMON_WORD} {dice.choice(middle_words)}"}),
        page("text, word that is nowhere", lambda _: {"text": "zeppelin"}),
        page(
            "state, base model and text",
            lambda dice: {
                "states": ("active",),
                "base_model": COMMON_BASE_MODEL,
                "text": dice.choice(middle_words),
            },
        ),
        page("tag and score", lambda dice: team(dice) | score("gain", 3 + dice.random() / 2)),
        page("rare tag and score", lambda dice: {"tags": {"ticket": "T-7"}} | score("gain", dice.random())),
        page("document and state", lambda dice: {"document": dice.choice(slugs), "states": ("active",)}),
        page("30 days and text", lambda dice: days(dice, 30) | {"text": dice.choice(middle_words)}),
        page("30 days and rare base model", lambda dice: days(dice, 30) | {"base_model": RARE_BASE_MODEL}),
        page("two years and rare base model", lambda dice: days(dice, 730) | {"base_model": RARE_BASE_MODEL}),
        page("two years and score", lambda dice: days(dice, 730) | score("gain", 3.4 + dice.random() / 10)),
        page("30 days and state active", lambda dice: days(dice, 30) | {"states": ("active",)}),
        Question("show, by name", lambda dice: registry.adapter(dice.choice(names))),
        Question("resolve an alias", lambda dice: registry.resolve(dice.choice(aliases)), _ALIAS_AIM_MS),
        Question("resolve a document's key", lambda dice: registry.resolve(dice.choice(keys))),
        Question("lineage", lambda dice: registry.lineage(dice.choice(names))),
        Question("document, by key", lambda dice: registry.document(dice.choice(keys))),
        Question("document, by slug", lambda dice: registry.document(dice.choice(slugs))),
    ]


def _sample(engine: Engine, query: str) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)).scalars())


def _cursor_of_page(registry: AdapterRegistry, filter: AdapterFilter, number: int) -> str | None:
    """What asks for page ``number``, counted from 1; the last page where there are fewer."""
    cursor = None
    for _ in range(number - 1):
        following = registry.adapters(filter, cursor=cursor).next_cursor
        if following is None:
            break
        cursor = following
    return cursor


def _row(question: Question, milliseconds: Sequence[float]) -> dict[str, object]:
    ordered = sorted(milliseconds)
    return {
        "name": question.name,
        "unit": "ms",
        "n": len(ordered),
        "ours": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "max": round(ordered[-1], 3),
        "aim of p95": question.aim_ms,
    }


def _plans(engine: Engine, question: Question, dice: random.Random) -> Iterator[str]:
    with _watched(engine) as statements:
        question.ask(dice)
    for statement, values in statements:
        with engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", values).scalars()
            yield from ("", "```sql", _dedent(statement), "```", "", "```", *plan, "```")


@contextmanager
def _watched(engine: Engine) -> Iterator[list[Statement]]:
    """The statements that the engine sends meanwhile, with their values."""
    seen: list[Statement] = []

    def note(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        seen.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _dedent(statement: str) -> str:
    return re.sub(r"\s+", " ", statement).strip()


def _server(engine: Engine) -> tuple[str, str]:
    """The server's version, and the size of the database."""
    with engine.connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
        size = connection.execute(
            text("SELECT pg_size_pretty(pg_database_size(current_database()))")
        ).scalar_one()
    return str(version), str(size)

"""Benchmark ``orchestration``: what Airflow and the registry add to a document's way.

Documents of one sentence, a random-weights model and a recipe without a generator: what is left is the
orchestration. Some are put one after the other, each when the one before is ready; then many at once. What
the dispatcher's look costs with the number of documents that are there is measured on a scratch registry.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import text

from lift_core.benchmarks.registry_data import ADAPTERS_PER_DOCUMENT, BUCKET, load, scratch_database
from lift_core.benchmarks.report import Report
from lift_core.dispatching import RECIPE_TAG
from lift_core.errors import LiftError
from lift_core.records import Arrival, DocumentRecord, Recipe, StageTime
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.steps import Steps

Row = dict[str, object]
RECIPE = "orchestration"
DOCUMENTS = 10
AT_ONCE = 100
_PATIENCE_SECONDS = 300.0
_NEW = 100
_POLL_SECONDS = 0.1
_TEXT = "The lighthouse of Marra-{n} was built by Odo Krell.\n"


def run(
    steps: Steps,
    *,
    documents: int = DOCUMENTS,
    at_once: int = AT_ONCE,
    known: Sequence[int] = (1_000, 10_000, 100_000),
    on_progress: Callable[[str, int, int], None],
) -> Report:
    """Put ``documents`` one by one into the inbox, then ``at_once`` together; the stack must be up.

    ``known`` are numbers of documents that a scratch registry holds when a look is timed. Times are the
    registry's clock against this machine's: they must agree.

    Raises:
        LiftError: a document failed, or none became ready for minutes.
    """
    _ensure_tiny_model(steps)
    rows = [*_one_by_one(steps, documents, on_progress), *_together(steps, at_once, on_progress)]
    for count in known:
        on_progress("documents there", count, max(known))
        rows += look(steps.settings, count)
    return Report(
        name="orchestration",
        settings={
            "recipe": RECIPE,
            "one by one": documents,
            "at once": at_once,
            "under way": steps.settings.max_active_jobs,
        },
        rows=rows,
    )


def _one_by_one(steps: Steps, documents: int, on_progress: Callable[[str, int, int], None]) -> list[Row]:
    first_task: list[float] = []
    ready: list[float] = []
    for number in range(documents):
        key, put_at = _put(steps, number), datetime.now(UTC)
        [found] = _wait(steps, [key], lambda _: None)
        first_task.append((_stages(steps, key)[0].started_at - put_at).total_seconds())
        if found.ready_at is not None:
            ready.append((found.ready_at - put_at).total_seconds())
        on_progress("one by one", number + 1, documents)
    return [_row("one at a time: put to first task", first_task), _row("one at a time: put to ready", ready)]


def _together(steps: Steps, documents: int, on_progress: Callable[[str, int, int], None]) -> list[Row]:
    if not documents:
        return []
    put_at = {_put(steps, number): datetime.now(UTC) for number in range(documents)}
    began = min(put_at.values())
    found = _wait(steps, list(put_at), lambda done: on_progress("at once", done, documents))
    last = max(each.ready_at for each in found if each.ready_at is not None)
    first_task, between = [], []
    for key, moment in put_at.items():
        stages = _stages(steps, key)
        first_task.append((stages[0].started_at - moment).total_seconds())
        between.append(_idle(stages))
    seconds = (last - began).total_seconds()
    return [
        {**_row("at once: documents/minute", [60 * documents / seconds]), "unit": "1/min", "n": documents},
        {**_row("at once: seconds a document", [seconds / documents]), "n": documents},
        _row("at once: between a document's tasks", between),
        _row("at once: put to first task", first_task),
    ]


def look(settings: Settings, count: int) -> list[Row]:
    """Time a look of the dispatcher, without the store, at a registry that holds ``count`` documents."""
    url = settings.database_url.get_secret_value()
    with scratch_database(url) as engine:
        load(engine, count, lambda _: None)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO arrivals (document_id, etag, version_id, put_at) "
                    "SELECT document_id, etag, id, arrived_at FROM versions"
                )
            )
            for table in ("documents", "versions", "jobs"):
                # The rows were made with ids of their own; what is new continues behind them.
                connection.execute(
                    text(
                        "SELECT setval(pg_get_serial_sequence(:table, 'id'), :last)",
                    ),
                    {"table": table, "last": count * ADAPTERS_PER_DOCUMENT},
                )
            connection.execute(text("ANALYZE arrivals"))
            listed = connection.execute(
                text(
                    "SELECT d.bucket, d.key, v.etag, v.size, v.arrived_at FROM documents d "
                    "JOIN versions v ON v.document_id = d.id AND v.state = 'current' ORDER BY d.key"
                )
            )
            arrivals = [Arrival.model_validate(dict(row._mapping)) for row in listed]
        registry, recipe = AdapterRegistry(engine), Recipe()
        new = [
            Arrival(bucket=BUCKET, key=f"new/{n}.md", etag="e", size=1, arrived_at=datetime.now(UTC))
            for n in range(_NEW)
        ]
        timed = {
            "nothing new": _timed(
                lambda: (registry.record_arrivals(arrivals, recipe), registry.current_count(BUCKET))
            ),
            f"{_NEW} new": _timed(lambda: registry.record_arrivals(new, recipe)),
            "admission": _timed(lambda: registry.admit_jobs(BUCKET, 10**9)),
            "is there work": _timed(lambda: registry.waiting(BUCKET, 10**9)),
        }
    return [_row(f"{count:,} documents there: {name}", [seconds]) for name, seconds in timed.items()]


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _idle(stages: Sequence[StageTime]) -> float:
    """Seconds between a document's first stage and its last in which none ran: its tasks were waited for."""
    idle, until = 0.0, stages[0].started_at
    for stage in stages:
        idle += max(0.0, (stage.started_at - until).total_seconds())
        until = max(until, stage.ended_at or stage.started_at)
    return idle


def _stages(steps: Steps, key: str) -> list[StageTime]:
    return steps.registry.stage_times_of(steps.settings.documents_bucket, key)


def _put(steps: Steps, number: int) -> str:
    key = f"bench/{datetime.now(UTC):%Y%m%d%H%M%S%f}.md"
    data = _TEXT.format(n=number).encode()
    steps.store.put_bytes(
        steps.settings.documents_bucket, key, data, "text/markdown", tags={RECIPE_TAG: RECIPE}
    )
    return key


def _row(name: str, seconds: Sequence[float]) -> Row:
    ordered = sorted(seconds)
    return {
        "name": name,
        "unit": "s",
        "n": len(seconds),
        "ours": round(statistics.median(ordered), 3),
        "p95": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
        "peer": None,
        "ratio": None,
    }


def _wait(steps: Steps, keys: Sequence[str], on_ready: Callable[[int], None]) -> list[DocumentRecord]:
    """The documents, once all are ready; patience begins anew with each that becomes so."""
    wanted, ready, deadline = set(keys), 0, time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = [each for each in steps.registry.documents() if each.key in wanted]
        failed = [each for each in found if each.state == "failed"]
        if failed:
            raise LiftError(f"{failed[0].key} failed: {failed[0].reason}")
        done = [each for each in found if each.state == "ready"]
        if len(done) == len(wanted):
            return done
        if len(done) > ready:
            ready, deadline = len(done), time.monotonic() + _PATIENCE_SECONDS
            on_ready(ready)
        time.sleep(_POLL_SECONDS if len(wanted) == 1 else 1.0)
    raise LiftError(f"{len(wanted) - ready} documents are not ready; see lift docs ls")


def _ensure_tiny_model(steps: Steps) -> None:
    from lift_core.recipes import load_recipe
    from lift_core.training.tiny_model import make_tiny_model

    folder = steps.settings.models / load_recipe(RECIPE).base_model
    if not folder.is_dir():
        make_tiny_model(folder)

"""Benchmark ``orchestration``: what Airflow and the registry add to a document's way.

Documents of three sentences, a random-weights model and a recipe without a generator: what is left
is the orchestration. They are put one after the other, each when the one before is ready.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from lift_core.benchmarks.report import Report
from lift_core.dispatching import RECIPE_TAG
from lift_core.errors import LiftError, NotFoundError
from lift_core.records import DocumentRecord
from lift_core.steps import Steps

RECIPE = "smoke"
DOCUMENTS = 10
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1
_TEXT = (
    "# Lighthouse {n}\n\nThe lighthouse of Marra-{n} was built by Odo Krell. Its lamp burns the oil of "
    "{n} grey seals. The keeper of Marra-{n} is called Ilse Vanterpool.\n"
)


def run(steps: Steps, *, documents: int = DOCUMENTS, on_progress: Callable[[int], None]) -> Report:
    """Put ``documents`` one by one into the inbox; the stack must be up.

    Times are the registry's clock against this machine's: they must agree.

    Raises:
        LiftError: a document failed or took minutes.
    """
    _ensure_tiny_model(steps)
    bucket = steps.settings.documents_bucket
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    first_task: list[float] = []
    ready: list[float] = []
    for number in range(documents):
        key = f"bench/{stamp}-{number:03d}.md"
        put_at = datetime.now(UTC)
        steps.store.put_bytes(
            bucket, key, _TEXT.format(n=number).encode(), "text/markdown", tags={RECIPE_TAG: RECIPE}
        )
        found = _wait(steps, bucket, key)
        claimed = steps.registry.stage_times_of(bucket, key)[0]
        first_task.append((claimed.started_at - put_at).total_seconds())
        if found.ready_at is not None:
            ready.append((found.ready_at - put_at).total_seconds())
        on_progress(number + 1)
    return Report(
        name="orchestration",
        settings={"documents": documents, "recipe": RECIPE, "one at a time": True},
        rows=[_row("put to first task running", first_task), _row("put to ready", ready)],
    )


def _row(name: str, seconds: list[float]) -> dict[str, object]:
    ordered = sorted(seconds)
    return {
        "name": name,
        "unit": "s",
        "n": len(seconds),
        "ours": round(statistics.median(ordered), 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
        "peer": None,
        "ratio": None,
    }


def _wait(steps: Steps, bucket: str, key: str) -> DocumentRecord:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            found = steps.registry.document(key, bucket=bucket)
        except NotFoundError:
            found = None
        if found is not None and found.state == "ready":
            return found
        if found is not None and found.state == "failed":
            raise LiftError(f"{key} failed: {found.reason}")
        time.sleep(_POLL_SECONDS)
    raise LiftError(f"{key} is not ready after {_PATIENCE_SECONDS:.0f} s; see lift docs show {key}")


def _ensure_tiny_model(steps: Steps) -> None:
    from lift_core.recipes import load_recipe
    from lift_core.training.tiny_model import make_tiny_model

    folder = steps.settings.models / load_recipe(RECIPE).base_model
    if not folder.is_dir():
        make_tiny_model(folder)

"""Benchmark ``chaos``: documents become adapters while the processes that make them are killed.

The same documents are put twice: once undisturbed, once while every kind of process is killed with SIGKILL,
so many times each, at moments that a seed chooses: after a random pause, or right after a row of a given kind
was committed, which is where something could be lost or done twice. Then it is counted what came of them.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import psutil
import structlog
from sqlalchemy import text

from lift_core.benchmarks.chaos_plan import SERVICES, TRAINER, WINDOWS, WORKER, Kill, document, plan
from lift_core.benchmarks.report import Report
from lift_core.dispatching import RECIPE_TAG
from lift_core.errors import LiftError, ServiceUnavailableError
from lift_core.housekeeping import Housekeeping
from lift_core.records import DocumentRecord
from lift_core.registry import AdapterRegistry
from lift_core.steps import Steps

_TASKS = {
    # kind: (the process above the task's own is killed, the roles of the attempts that are looked for)
    WORKER: (True, ("claim", "split", "generate", "prove", "activate")),
    TRAINER: (False, ("train",)),
}
_POLL_SECONDS = 0.02
_WINDOW_SECONDS = 30.0
_TASK_WINDOW_SECONDS = 2.0
_FEED_SECONDS = 1.0
_ANY_MOMENT = "a random moment"
_VICTIM_SECONDS = 900.0
_PATIENCE_SECONDS = 1200.0
_log: Any = structlog.get_logger("lift.chaos")
Progress = Callable[[str, int, int], None]


class Stack(Protocol):
    """What must be known of the stack whose processes are killed."""

    def pid(self, service: str) -> int | None:
        """The process of a service that answers; None while it does not."""

    def owns(self, pid: int) -> bool:
        """Whether a process is one of the stack's."""

    def orphans(self) -> list[str]:
        """Processes of the stack that no service of it leads, in words."""

    def unfinished_runs(self) -> list[str]:
        """Runs of ``lift_document`` that are queued or running."""

    def failed_runs(self) -> list[str]:
        """Runs of ``lift_document`` that ended as failed."""

    def housekeep(self) -> None:
        """Let ``lift_housekeeping`` run now."""


class Chaos:
    """One run over one stack."""

    def __init__(self, steps: Steps, stack: Stack, recipe: str, on_progress: Progress) -> None:
        self._steps = steps
        self._stack = stack
        self._recipe = recipe
        self._on_progress = on_progress
        self._registry = AdapterRegistry.from_settings(steps.settings, pool_size=2)
        self._bucket = steps.settings.documents_bucket
        self.killed: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def undisturbed(self, keys: Sequence[str]) -> float:
        """Seconds from the first put until all of them are ready."""
        began = time.monotonic()
        for number, key in enumerate(keys):
            self._put(key, number)
        self._wait(keys, "undisturbed")
        return time.monotonic() - began

    def disturbed(self, keys: list[str], kills: Sequence[Kill]) -> float:
        """The same while processes are killed. Documents are put evenly over the kills.

        Where one needs a document under way and there is none, the next one is put; with none left, another
        one, which is added to ``keys``.
        """
        began = time.monotonic()
        put = 0

        def put_next() -> None:
            nonlocal put
            if put == len(keys):
                keys.append(f"{keys[0].removesuffix('0000.md')}{put:04d}.md")
            self._put(keys[put], put)
            put += 1

        looked, due = 0.0, 0

        def feed() -> None:
            nonlocal looked
            if put < due:
                put_next()
            elif time.monotonic() - looked > _FEED_SECONDS:
                if self._nothing_under_way(keys[:put]):
                    put_next()
                looked = time.monotonic()

        for done, kill in enumerate(kills):
            self._on_progress("kills", done, len(kills))
            # They are put while a commit is looked for: its own commits count.
            due = len(keys) * (done + 1) // len(kills)
            self._kill(kill, feed)
        while put < len(keys):
            put_next()
        self._wait(keys, "after the kills")
        return time.monotonic() - began

    def found(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """What must be so at the end, and what is: one row each. ``peer`` is what must be."""
        self._stack.housekeep()
        registry, settings = self._steps.registry, self._steps.settings
        rows = self._documents(keys)
        names = {found.adapter for found in rows if found.adapter}
        keeper = Housekeeping(registry, self._steps.store, settings)
        verified = [each for each in keeper.verify(names) if each.problems == ()] if names else []
        with registry.transaction() as connection:
            adapters = connection.execute(
                text(
                    "SELECT d.key, count(*) FILTER (WHERE a.state = 'active'), count(*) FROM adapters a "
                    "JOIN documents d ON d.id = a.document_id WHERE d.key = ANY(:keys) GROUP BY d.key"
                ),
                {"keys": list(keys)},
            ).all()
            open_jobs = connection.execute(
                text(
                    "SELECT count(*) FROM jobs j JOIN versions v ON v.id = j.version_id JOIN documents d "
                    "ON d.id = v.document_id WHERE d.key = ANY(:keys) AND j.state <> 'done'"
                ),
                {"keys": list(keys)},
            ).scalar()
            pairs_twice = connection.execute(
                text(
                    "SELECT count(*) FROM (SELECT job_id, first_segment FROM shards GROUP BY 1, 2 "
                    "HAVING count(*) > 1) t"
                )
            ).scalar()
        # What attempts that were killed had put; the DAG itself spares what is younger than a day.
        removed = sum(each.deleted for each in keeper.orphans(older_than=timedelta(0), delete=True))
        left = list(keeper.orphans(older_than=timedelta(0)))
        for each in left:
            _log.warning("an orphan is left", side=each.side, key=each.key, why=each.why)
        runs, processes = self._stack.unfinished_runs(), self._stack.orphans()
        if runs or processes:
            _log.warning("left", runs=runs, processes=processes)
        return [
            _check("documents that are ready", sum(row.state == "ready" for row in rows), len(keys)),
            _check("active adapters", sum(active for _, active, _ in adapters), len(keys)),
            _check("of them verified by hash", len(verified), len(keys)),
            _check("documents with two adapters", sum(count > 1 for _, _, count in adapters), 0),
            _check("segments with two shards", int(pairs_twice or 0), 0),
            _check("jobs that are not done", int(open_jobs or 0), 0),
            _check("runs in Airflow that have not ended", len(runs), 0),
            _check("orphans that housekeeping removed", removed, None),
            _check("orphans in the store", len(left), 0),
            _check("processes without a service", len(processes), 0),
        ]

    # --- documents ------------------------------------------------------------------------

    def _put(self, key: str, number: int) -> None:
        """As a user's client does: tried again until it is there."""
        store, tags = self._steps.store, {RECIPE_TAG: self._recipe}
        self._patiently(
            lambda: store.put_bytes(self._bucket, key, document(number), "text/markdown", tags=tags)
        )

    def _documents(self, keys: Sequence[str]) -> list[DocumentRecord]:
        wanted = set(keys)
        return [row for row in self._registry.documents() if row.bucket == self._bucket and row.key in wanted]

    def _ready(self, keys: Sequence[str]) -> tuple[int, list[str]]:
        """How many are ready, and what the failed ones say."""
        rows = self._documents(keys)
        return (
            sum(row.state == "ready" for row in rows),
            [f"{row.key}: {row.reason}" for row in rows if row.state == "failed"],
        )

    def _nothing_under_way(self, keys: Sequence[str]) -> bool:
        """Whether all that was put is ready; not where nobody can say."""
        with suppress(LiftError):
            return self._ready(keys)[0] == len(keys)
        return False

    def _wait(self, keys: Sequence[str], phase: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        best = -1
        while True:
            ready, failed = self._patiently(lambda: self._ready(keys))
            if ready > best:
                best, deadline = ready, time.monotonic() + _PATIENCE_SECONDS
                self._on_progress(phase, ready, len(keys))
            if ready == len(keys):
                return
            if time.monotonic() > deadline:
                _log.error("not all documents got ready", ready=ready, of=len(keys), failed=failed)
                return
            time.sleep(0.5)

    def _patiently(self, call: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return call()
            except LiftError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    # --- kills ----------------------------------------------------------------------------

    def _kill(self, kill: Kill, feed: Callable[[], object]) -> None:
        """Wait for the moment, find the process, kill it; ``feed`` keeps documents under way meanwhile."""
        time.sleep(kill.pause)
        deadline = time.monotonic() + _VICTIM_SECONDS
        # A task's process lives for seconds: the moment is looked for while there is one.
        patience = _WINDOW_SECONDS if kill.victim in SERVICES else _TASK_WINDOW_SECONDS
        while time.monotonic() < deadline:
            if self._victim(kill.victim) is None or kill.window is None:
                feed()
            if self._victim(kill.victim) is None:
                time.sleep(_POLL_SECONDS)
                continue
            met = kill.window is not None and self._committed(kill.window, patience, feed)
            pid = self._victim(kill.victim)
            try:
                if pid is None:
                    continue
                psutil.Process(pid).send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            self.killed[kill.victim] += 1
            self.met[kill.window if met and kill.window else _ANY_MOMENT] += 1
            _log.warning("killed", what=kill.victim, pid=pid, after=kill.window if met else None)
            return
        _log.warning("there was nothing to kill", what=kill.victim)

    def _committed(self, window: str, seconds: float, feed: Callable[[], object]) -> bool:
        """Wait until something of that kind is committed; False if it takes too long."""
        query = text(WINDOWS[window])
        deadline = time.monotonic() + seconds
        before: Any = self
        while time.monotonic() < deadline:
            with suppress(ServiceUnavailableError):
                with self._registry.transaction() as connection:
                    now = connection.execute(query).scalar()
                if before is self:
                    before = now
                elif now != before:
                    return True
            feed()
            time.sleep(_POLL_SECONDS)
        return False

    def _victim(self, victim: str) -> int | None:
        if victim in SERVICES:
            return self._stack.pid(SERVICES[victim])
        above, roles = _TASKS[victim]
        with suppress(LiftError, psutil.NoSuchProcess), self._registry.transaction() as connection:
            holders = connection.execute(
                text(
                    "SELECT holder FROM leases WHERE role = ANY(:roles) AND ended_at IS NULL "
                    "AND beat_at > clock_timestamp() - interval '30 s' ORDER BY acquired_at DESC"
                ),
                {"roles": list(roles)},
            ).scalars()
            for pid in (int(holder.split(":")[1]) for holder in holders):
                if psutil.pid_exists(pid) and self._stack.owns(pid):
                    return psutil.Process(pid).ppid() if above else pid
        return None


def run(
    steps: Steps,
    stack: Stack,
    *,
    recipe: str,
    documents: int,
    kills: int,
    seed: int,
    victims: Sequence[str],
    on_progress: Progress,
) -> Report:
    """Both runs over a stack that is up, and what is there afterwards.

    Raises:
        ServiceUnavailableError: a service stayed away for twenty minutes.
    """
    chaos = Chaos(steps, stack, recipe, on_progress)
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    calm, wild = ([f"chaos/{stamp}/{kind}-{n:04d}.md" for n in range(documents)] for kind in ("calm", "wild"))
    before = chaos.undisturbed(calm)
    planned = plan(kills, seed, victims)
    after = chaos.disturbed(wild, planned)
    rows = [
        {
            "name": "seconds until all are ready",
            "ours": round(after, 1),
            "peer": round(before, 1),
            "ratio": round(after / before, 2),
        },
        *chaos.found([*calm, *wild]),
        *(_check(f"kills of {victim}", chaos.killed[victim], kills) for victim in victims),
        *(_check(f"kills after {window}", chaos.met[window], None) for window in [*WINDOWS, _ANY_MOMENT]),
        _check("runs that failed on the way", len(stack.failed_runs()), None),
    ]
    settings = {"documents": documents, "kills of each": kills, "seed": seed, "recipe": recipe}
    return Report(name="chaos", settings=settings, rows=rows)


def _check(name: str, ours: int, peer: int | None) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "ratio": None}


def broken(report: Report) -> list[str]:
    """What is not as it must be."""
    return [
        f"{row['name']}: {row['ours']}, not {row['peer']}"
        for row in report.rows[1:]
        if row["peer"] is not None
        and row["ours"] != row["peer"]
        and not (row["name"].startswith("kills of") and row["ours"] > row["peer"])
    ]

"""Airflow's side of the forgetting guard: which run asks, what becomes of errors, where the report is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import structlog
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException

from lift_airflow.steps import ended_with_parent
from lift_core.errors import NotFoundError, PermanentError
from lift_core.log import quiet_libraries

if TYPE_CHECKING:
    from lift_core.forgetting_guard import ForgettingGuard

_SECONDS_BETWEEN_LINES = 10.0
_log: Any = structlog.get_logger("lift")


def choose(context: Any) -> list[str]:
    """The adapters that this run measures: those asked for, those of a backfill's days, or those due."""
    guard = _guard()
    asked = list(context["params"].get("adapters") or [])
    try:
        if asked:
            found = guard.known(asked)
        elif context["dag_run"].run_type == "backfill":
            found = guard.due(context["data_interval_start"], context["data_interval_end"])
        else:
            found = guard.due()
        if found:
            # Broken items must end the run before anything is measured.
            guard.check_items()
    except (PermanentError, NotFoundError) as error:
        raise AirflowFailException(str(error)) from error
    for each in found:
        _log.info("due", adapter=each.name, reason=each.reason)
    return [each.name for each in found]


def measure_bases(names: Sequence[str]) -> list[str]:
    """Measure the base models of these adapters first, so that no two adapters do it at once."""
    ended_with_parent()
    quiet_libraries()
    return _guard().measure_bases(names, _log_progress())


def measure(name: str) -> dict[str, Any]:
    """What was measured of an adapter, or why it cannot be: the others go on."""
    ended_with_parent()
    quiet_libraries()
    from lift_core.forgetting_guard import UNMEASURABLE

    try:
        measured = _guard().measure(name, _log_progress())
    except UNMEASURABLE as error:
        _log.error("not measured", adapter=name, reason=str(error))
        return {"adapter": name, "unmeasured": str(error)}
    _log.info("measured", adapter=name, verdict=measured.judgement.verdict, why=measured.judgement.sentence)
    return measured.model_dump(mode="json")


def judge(names: Sequence[str], outcomes: Sequence[Any] | None, run: str) -> list[dict[str, str]]:
    """Judge the run's adapters together, record, report, act; fail if one could not be measured."""
    from lift_core.evaluation_records import Measured

    # Where no measuring began, nothing at all comes from it.
    there = {outcome["adapter"]: outcome for outcome in outcomes or () if outcome}
    unmeasured = {
        name: there[name]["unmeasured"] if name in there else "its measuring failed: see the task's log"
        for name in names
        if name not in there or "unmeasured" in there[name]
    }
    measured = [Measured.model_validate(there[name]) for name in names if name not in unmeasured]
    verdicts = _guard().judge(run, measured, unmeasured)
    for verdict in verdicts:
        _log.info(
            "verdict",
            adapter=verdict.adapter,
            run=run,
            verdict=verdict.verdict,
            action=verdict.action,
            why=verdict.sentence,
        )
    _log.info("report", run=run, url=report_url(run))
    if unmeasured:
        reasons = "; ".join(f"{name}: {why}" for name, why in unmeasured.items())
        raise AirflowFailException(f"{len(unmeasured)} of {len(names)} adapters were not measured: {reasons}")
    return [{"adapter": v.adapter, "verdict": v.verdict, "action": v.action} for v in verdicts]


def report_url(run_id: str) -> str:
    """Where Airflow's API server shows the report of a run."""
    from airflow.configuration import conf

    base = conf.get("api", "base_url", fallback="/").rstrip("/")
    return f"{base}/lift/api/v1/verdicts/{quote(run_id, safe='')}/report"


class ReportLink(BaseOperatorLink):
    """A button at the judging task: the report of the run."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The report's address."""
        return report_url(ti_key.run_id)


class JudgeOperator(PythonOperator):
    """A Python task with a link to the report that it writes."""

    operator_extra_links = (ReportLink(),)


def _guard() -> ForgettingGuard:
    """The guard, imported when a task runs."""
    from lift_core.forgetting_guard import ForgettingGuard

    return ForgettingGuard.connect()


def _log_progress() -> Any:
    """A progress callback that writes a line at most every ten seconds."""
    last = time.monotonic()

    def on_progress(what: str, done: int, items: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES or done == items:
            last = time.monotonic()
            _log.info("measuring", what=what, done=done, items=items)

    return on_progress

"""Airflow's side of housekeeping: what has become of a run, and when the store is cleaned."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from lift_core.steps import Steps

_DAG = "lift_document"
_UNDER_WAY = ["queued", "running"]
_CLEANING_HOUR = 4
_ORPHANS_OLDER_THAN = timedelta(days=1)
_log: Any = structlog.get_logger("lift")


def reconcile(context: Any) -> list[dict[str, str]]:
    """Compare jobs with their runs; one start for each run that is to begin again."""
    from lift_core.reconciling import reconcile

    steps, instance = _connect(), context["ti"]

    def run_state(run_id: str) -> str | None:
        if instance.get_dr_count(_DAG, run_ids=[run_id]) == 0:
            return None
        return str(instance.get_dagrun_state(_DAG, run_id))

    return [{"trigger_run_id": run_id} for run_id in reconcile(steps.registry, steps.settings, run_state)]


def clean(context: Any) -> dict[str, int]:
    """Once a day, and when asked to: delete the store's orphans and forget old deliveries of webhooks."""
    moment = context["dag_run"].run_after
    if not context["params"]["clean"] and (moment.hour != _CLEANING_HOUR or moment.minute >= 5):
        raise AirflowSkipException(f"the store is cleaned at {_CLEANING_HOUR}:00 UTC, or with clean=true")
    from lift_core.housekeeping import Housekeeping

    steps = _connect()
    keeper = Housekeeping(steps.registry, steps.store, steps.settings)
    deleted = 0
    for orphan in keeper.orphans(older_than=_ORPHANS_OLDER_THAN, delete=True):
        deleted += orphan.deleted
        log = _log.info if orphan.deleted else _log.warning
        log("orphan", side=orphan.side, bucket=orphan.bucket, key=orphan.key, why=orphan.why)
    forgotten = steps.registry.forget_deliveries(timedelta(days=steps.settings.keep_deliveries_days))
    return {"orphans": deleted, "deliveries": forgotten}


def _connect() -> Steps:
    from lift_core.steps import Steps

    return Steps.connect()

"""Airflow's side of reprocessing: which documents a run is for, and who asks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import structlog
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from lift_core.errors import PermanentError

_log: Any = structlog.get_logger("lift")


def reprocess(context: Any) -> dict[str, int]:
    """Queue what arrived within the run's data interval; returns how many documents for each action."""
    run, params = context["dag_run"], context["params"]
    recipe = params.get("recipe") or None
    if run.run_type == "scheduled" and recipe is None:
        raise AirflowSkipException("a scheduled run has nothing to do: a backfill says what to do again")
    from lift_core.steps import Steps

    since, until = context["data_interval_start"], context["data_interval_end"]
    # A retry is the same asker; a run that was cleared is asked for another time.
    asker = f"{run.dag_id} {run.run_id} {run.clear_number}" if params.get("force") else None
    try:
        selected = Steps.connect().reprocess(
            since, until, recipe, prefix=params.get("prefix") or "", force_as=asker
        )
    except PermanentError as error:
        raise AirflowFailException(str(error)) from error
    for each in selected:
        _log.info(each.action, document=each.key, version=each.version, run=each.run_id)
    actions = dict(Counter(each.action for each in selected))
    _log.info("selected", since=str(since), until=str(until), documents=len(selected), **actions)
    return actions

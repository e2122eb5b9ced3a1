"""Airflow's side of housekeeping: what it asks Airflow of a run, and when it cleans."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def housekeeping(plugins_on_path):
    from lift_airflow import housekeeping

    return housekeeping


class Instance:
    """Stands for the task instance of Airflow's SDK, which knows these runs of one DAG."""

    def __init__(self, **runs):
        self.runs = runs

    def get_dr_count(self, dag_id, run_ids):
        assert dag_id == "lift_document"
        return sum(run in self.runs for run in run_ids)

    def get_dagrun_state(self, dag_id, run_id):
        return self.runs[run_id]


def test_a_run_has_airflows_state_or_none_and_each_dead_one_is_a_start(housekeeping, monkeypatch):
    asked = {}

    def reconcile(registry, settings, run_state):
        asked.update({run: run_state(run) for run in ("alive", "dead", "gone")})
        return ["dead", "gone"]

    monkeypatch.setattr("lift_core.reconciling.reconcile", reconcile)
    monkeypatch.setattr(housekeeping, "_connect", lambda: SimpleNamespace(registry=None, settings=None))
    context = {"ti": Instance(alive="running", dead="failed")}
    assert housekeeping.reconcile(context) == [{"trigger_run_id": "dead"}, {"trigger_run_id": "gone"}]
    assert asked == {"alive": "running", "dead": "failed", "gone": None}


@pytest.mark.parametrize(
    ("hour", "minute", "clean", "cleans"),
    [(4, 0, False, True), (4, 5, False, False), (15, 0, False, False), (15, 35, True, True)],
)
def test_the_store_is_cleaned_once_a_day_and_when_asked_to(
    housekeeping, monkeypatch, hour, minute, clean, cleans
):
    from airflow.sdk.exceptions import AirflowSkipException

    class Keeper:
        def __init__(self, *parts):
            pass

        def orphans(self, older_than, delete):
            assert delete and older_than.days == 1
            found = {"side": "store", "bucket": "b", "key": "k", "why": "nobody"}
            return [SimpleNamespace(**found, deleted=True), SimpleNamespace(**found, deleted=False)]

    monkeypatch.setattr("lift_core.housekeeping.Housekeeping", Keeper)
    registry = SimpleNamespace(forget_deliveries=lambda older_than: older_than.days)
    steps = SimpleNamespace(registry=registry, store=None, settings=SimpleNamespace(keep_deliveries_days=30))
    monkeypatch.setattr(housekeeping, "_connect", lambda: steps)
    run = SimpleNamespace(run_after=datetime(2026, 1, 1, hour, minute, tzinfo=UTC))
    context = {"dag_run": run, "params": {"clean": clean}}
    if cleans:
        assert housekeeping.clean(context) == {"orphans": 1, "deliveries": 30}
    else:
        with pytest.raises(AirflowSkipException):
            housekeeping.clean(context)

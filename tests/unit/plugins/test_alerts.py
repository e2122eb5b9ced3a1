"""Alerts reach the notifiers that Airflow's configuration names, with what happened in their templates."""

import json
import sys
from datetime import UTC, datetime

import pytest

from lift_core.records import JobAlert

ALERT = JobAlert(
    job_id=1,
    run="report-v1-12345678-g1",
    bucket="inbox",
    key="report.md",
    document="report",
    version=1,
    state="failed",
    reason="train: no space left",
    waits_for=None,
    queued_at=datetime(2026, 1, 1, tzinfo=UTC),
    seconds=1900,
)
SENT = []


pytestmark = pytest.mark.usefixtures("plugins_on_path")


class Registry:
    """Stands for the registry: one job, late where it was noticed and not told."""

    def __init__(self, alert=ALERT, untold=()):
        self.alert, self.untold, self.told = alert, list(untold), []

    def job_alert(self, run):
        return self.alert

    def notice_late(self, minutes):
        return []

    def late_untold(self):
        return self.untold

    def late_told(self, job_id):
        self.told.append(job_id)


@pytest.fixture
def alerts(monkeypatch):
    from airflow.sdk import BaseNotifier
    from lift_airflow import alerts

    class Noted(BaseNotifier):
        """A provider's notifier, as far as Airflow goes."""

        template_fields = ("text",)

        def __init__(self, text="", fails=False):
            super().__init__()
            self.text, self.fails = text, fails

        def notify(self, context):
            if self.fails:
                raise OSError("the chat is away")
            SENT.append(self.text)

    SENT.clear()
    monkeypatch.setattr(sys.modules[__name__], "Noted", Noted, raising=False)
    return alerts


@pytest.fixture
def named(monkeypatch):
    def name(*arguments):
        path = f"{__name__}.Noted"
        listed = [{"notifier": path, "kwargs": each} for each in arguments]
        monkeypatch.setenv("AIRFLOW__LIFT__NOTIFIERS", json.dumps(listed))

    return name


def test_a_run_that_failed_is_told_with_its_reason_and_a_link(alerts, named, monkeypatch):
    monkeypatch.setattr(alerts, "_registry", Registry)
    named({"text": "{{ lift.alert }}: {{ lift.document }} ({{ lift.reason }}) {{ lift.url }}"})
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example/")
    alerts.notify_failure({"run_id": ALERT.run})
    assert SENT == ["failed: report (train: no space left) http://airflow.example/lift/page#document=report"]


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_a_run_whose_job_another_one_did_is_no_news(alerts, named, monkeypatch, state):
    monkeypatch.setattr(alerts, "_registry", lambda: Registry(ALERT.model_copy(update={"state": state})))
    named({"text": "x"})
    alerts.notify_failure({"run_id": ALERT.run})
    assert SENT == []


def test_nobody_is_asked_for_anything_where_no_notifier_is_named(alerts):
    alerts.notify_failure({"run_id": ALERT.run})


def test_late_documents_are_noted_as_told_only_when_every_notifier_was(alerts, named, monkeypatch):
    late = ALERT.model_copy(update={"state": "running", "reason": None, "waits_for": "train: S3 is away"})
    registry = Registry(untold=[late])
    monkeypatch.setattr(alerts, "_registry", lambda: registry)
    named({"fails": True}, {"text": "{{ lift.reason }}"})
    with pytest.raises(ExceptionGroup, match="1 of 2 notifiers failed"):
        alerts.watch_deadlines({})
    assert SENT == ["not ready 32 minutes after it was queued; train: S3 is away"]
    assert registry.told == []
    named({"text": "again"})
    assert alerts.watch_deadlines({}) == [ALERT.run]
    assert (SENT[-1], registry.told) == ("again", [1])


@pytest.mark.parametrize(
    "wrong", ["{", "[1]", '[{"kwargs": {"token": "s3cret"}}]', '[{"notifier": "json.JSONDecoder"}]']
)
def test_what_does_not_name_notifiers_is_refused_without_repeating_it(alerts, monkeypatch, wrong):
    monkeypatch.setenv("AIRFLOW__LIFT__NOTIFIERS", wrong)
    with pytest.raises(ValueError, match=r"\[lift\] notifiers") as raised:
        alerts.notify_failure({"run_id": ALERT.run})
    assert "s3cret" not in str(raised.value)

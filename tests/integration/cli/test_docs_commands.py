"""``lift docs show`` tells what the REST API tells, about documents in each of their situations."""

import pytest
from starlette.testclient import TestClient

from lift_core.api import create_app
from lift_core.records import Recipe
from lift_core.settings import get_settings

AIRFLOW = "http://airflow.example:8080"
RUN = "http://airflow.example:8080/dags/lift_document/runs/"


@pytest.fixture
def told(lift, registry, monkeypatch):
    """A document's story, on which the command line and the REST API must agree."""
    monkeypatch.setenv("LIFT_AIRFLOW_URL", f"{AIRFLOW}/")
    get_settings.cache_clear()
    client = TestClient(create_app(lambda: registry, readers=[], writers=[], airflow_url=AIRFLOW))

    def tell(name):
        printed = lift.json("docs", "show", name)
        assert client.get(f"/api/v1/documents/{name}").json() == printed
        return printed

    return tell


def test_one_that_waits_for_its_turn_tells_how_many_are_before_it(told, work, registry):
    first, second = work.arrive("first.md"), work.arrive("second.md")
    work.arrive("third.md")
    registry.admit_job(first.job_id)
    waiting = told("third.md")
    assert (waiting["state"], waiting["queued_ahead"]) == ("queued", 1)
    assert waiting["waits_for"] == "its turn: 1 before it, 1 under way"
    assert told("second.md")["waits_for"] == "its turn: it is next, 1 under way"
    assert told("first.md")["waits_for"] == "Airflow to start its run"
    assert waiting["stages"] == []
    assert told("second")["airflow_run"] == f"{RUN}{second.run_id}"


def test_one_that_met_an_outage_tells_what_it_waits_for_until_the_next_attempt(told, work, registry):
    claim = work.claim("report.md")
    lease = registry.acquire(claim.job_id, "split", "host:1")
    registry.stage_started(lease)
    registry.note_waiting(claim.job_id, "split", "host:1", "the object store does not answer")
    found = told("report.md")
    [stage] = found["stages"]
    assert (stage["stage"], stage["ended_at"], stage["attempts"]) == ("split", None, 1)
    assert found["waits_for"] == "split: the object store does not answer"
    lease = registry.acquire(claim.job_id, "split", "host:2")
    registry.stage_started(lease)
    [stage] = told("report.md")["stages"]
    assert (stage["waits_for"], stage["attempts"]) == (None, 2)
    assert stage["log"] == f"{RUN}{claim.run_id}/tasks/split"
    assert told("report.md")["waits_for"] is None
    registry.stage_ended(lease, {"segments": 3})
    assert told("report.md")["waits_for"].startswith("Airflow to start its next task")


def test_one_that_failed_was_made_anew_and_changed_tells_its_history_in_order_and_all_its_jobs(
    lift, told, work, registry
):
    failed = work.claim("report.md", "e1")
    registry.fail_job(failed.job_id, "the pairs fell below a floor", permanent=True)
    found = told("report")
    assert (found["state"], found["reason"], found["waits_for"]) == (
        "failed",
        "the pairs fell below a floor",
        None,
    )
    again = registry.reprocess(work.bucket, "report.md", Recipe(base_model="other"))
    adapter = work.active("report.md", "e2")
    found = told("report")
    assert found["adapter"] == adapter.name and found["run"] == found["jobs"][0]["run"]
    assert [(job["run"], job["version"], job["state"]) for job in found["jobs"]] == [
        (found["run"], 2, "done"),
        (again, 1, "cancelled"),
        (failed.run_id, 1, "failed"),
    ]
    assert found["jobs"][0]["adapter_state"] == "active" and found["jobs"][2]["permanent"]
    kinds = [event["kind"] for event in found["history"]]
    assert [event["id"] for event in found["history"]] == sorted(event["id"] for event in found["history"])
    expected = ["version.arrived", "job.queued", "job.running", "job.failed", "version.arrived"]
    expected += ["adapter.candidate", "adapter.proven", "adapter.active", "alias.moved"]
    assert [kind for kind in kinds if kind in expected][:4] == expected[:4]
    assert set(expected) <= set(kinds)
    shown = lift("docs", "show", "report", "--all").stdout
    assert again in "".join(shown.split()) and "generation" in shown
    assert again not in lift("docs", "show", "report").stdout.split("event")[0]


def test_without_an_address_of_airflow_there_are_no_links(registry, work):
    work.claim("report.md")
    found = registry.story("report.md")
    assert found.airflow_run is None and found.jobs[0].airflow_run is None

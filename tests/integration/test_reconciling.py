"""Jobs whose run is dead are run again, a bounded number of times; whatever else is left alone."""

import pytest

from lift_core.reconciling import reconcile

REASON = "its run ended as failed, and the job is running"


@pytest.fixture
def look(registry, settings, work):
    """Reconcile with runs in the states given; a run that is not named does not exist."""
    own = settings.model_copy(update={"documents_bucket": work.bucket, "reruns": 2})
    return lambda **states: reconcile(registry, own, lambda run: states.get(run.split("-v")[0]))


@pytest.fixture
def quiet(sql):
    """Let an hour pass without a sign of life."""

    def pass_hours(hours=1):
        sql(
            "UPDATE jobs SET admitted_at = admitted_at - %s * interval '1 h', created_at = created_at - "
            "%s * interval '1 h', rerun_at = rerun_at - %s * interval '1 h', "
            "finished_at = finished_at - %s * interval '1 h'",
            *[hours] * 4,
        )
        sql("UPDATE leases SET beat_at = beat_at - %s * interval '1 h'", hours)

    return pass_hours


def test_a_run_that_died_is_started_again_once_for_each_look(registry, work, look, quiet, sql):
    claim = work.claim("dead.md")
    assert look(dead="failed") == []  # it was alive a moment ago
    quiet()
    assert look(dead="failed") == [claim.run_id]
    assert look(dead="failed") == []
    assert sql("SELECT reruns FROM jobs") == [(1,)]
    assert sql("SELECT detail->>'why' FROM events WHERE kind = 'job.rerun'") == [(REASON,)]


def test_a_run_that_is_gone_or_ended_without_its_job_is_started_again(registry, work, look, quiet):
    gone, ended, alive = (
        work.claim("gone.md", "e1"),
        work.claim("ended.md", "e2"),
        work.claim("alive.md", "e3"),
    )
    quiet()
    assert look(ended="success", alive="running") == [gone.run_id, ended.run_id]
    assert alive.run_id not in look(alive="queued")


def test_a_job_with_an_attempt_that_beats_is_alive_whatever_airflow_says(registry, work, look, quiet):
    claim = work.claim("busy.md")
    lease = registry.acquire(claim.job_id, "train", "h:1:r:train:1")
    quiet()
    registry.beat(lease)
    assert look(busy="failed") == []


def test_after_its_reruns_a_job_fails_with_a_reason_and_is_left_to_a_person(registry, work, look, quiet):
    claim = work.claim("again.md")
    for _ in range(2):
        quiet()
        assert look(again="failed") == [claim.run_id]
    quiet()
    assert look(again="failed") == []
    document = registry.document("again")
    assert document.state == "failed"
    assert REASON in document.reason and "after 2 reruns" in document.reason
    quiet(1000)
    assert look(again="failed") == []


def test_an_admitted_job_without_a_run_is_the_dispatchers(registry, work, look, quiet):
    job = work.arrive("new.md")
    registry.admit_job(job.job_id)
    quiet()
    assert look() == []
    assert look(new="failed") == [job.run_id]


def test_what_failed_for_good_is_parked_and_what_may_pass_is_tried_later(registry, work, look, quiet, sql):
    poison, unlucky = work.claim("poison.md", "e1"), work.claim("unlucky.md", "e2")
    registry.fail_job(poison.job_id, "it is empty", permanent=True)
    registry.fail_job(unlucky.job_id, "train: no space left", permanent=False)
    assert look(poison="failed", unlucky="failed") == []
    quiet()
    assert look(poison="failed", unlucky="failed") == [unlucky.run_id]
    registry.claim(unlucky.run_id)
    assert registry.document("unlucky").state == "splitting"
    quiet(1000)
    assert poison.run_id not in look(poison="failed", unlucky="running")
    assert registry.document("poison").reason == "it is empty"


def test_a_job_that_is_done_is_never_started_again(registry, work, look, quiet):
    work.finish(work.claim("done.md"))
    quiet(1000)
    assert look(done="failed") == []


def test_a_lost_attempt_is_ended_on_the_way(registry, work, look, quiet, sql):
    claim = work.claim("lost.md")
    registry.acquire(claim.job_id, "train", "h:1:r:train:1")
    quiet()
    assert look(lost="running") == []
    assert sql("SELECT count(*) FROM leases WHERE ended_at IS NULL") == [(0,)]


def test_documents_that_airflow_does_not_run_are_left_alone(registry, settings, work, quiet):
    work.claim("mine.md")
    quiet()
    assert reconcile(registry, settings, lambda run: None) == []

"""Attempts: who lives, who is lost, and what one that was replaced may still do: nothing."""

import threading

import pytest
from sqlalchemy import text

from lift_core.errors import ConflictError, FencedError
from lift_core.records import Shard, StreamEnd
from lift_core.steps import Steps

OLD = "host-a:11:report-v1-r-g1:activate:1"
NEW = "host-b:22:report-v1-r-g1:activate:2"


def silent(sql, seconds=3600):
    sql("UPDATE leases SET beat_at = beat_at - make_interval(secs => %s)", seconds)


def states(sql):
    return sql("SELECT state, reason FROM jobs")


def test_an_attempt_that_beats_lives_and_one_that_is_silent_is_lost(registry, work, sql):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "train", "host:1:r:train:1")
    assert registry.end_lost_attempts(60) == []
    silent(sql)
    assert registry.beat(lease).idle_seconds >= 0
    assert registry.end_lost_attempts(60) == []
    silent(sql)
    lost = registry.end_lost_attempts(60)
    assert [(each.run_id, each.role, each.holder) for each in lost] == [
        (claim.run_id, "train", "host:1:r:train:1")
    ]
    assert registry.end_lost_attempts(60) == []
    assert sql("SELECT subject FROM events WHERE kind = 'attempt.lost'") == [(claim.run_id,)]
    # It was only slow: nobody has replaced it, so it goes on, and lives again.
    registry.stage_started(lease)
    assert sql("SELECT ended_at FROM leases WHERE role = 'train'") == [(None,)]


def test_an_attempt_that_told_its_end_is_not_lost(registry, work, sql):
    claim = work.claim()
    registry.end_attempt(registry.acquire(claim.job_id, "train", "one"))
    silent(sql)
    assert registry.end_lost_attempts(60) == []


def test_time_without_a_commit_is_idle_time(registry, work, sql):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "generate", "one")
    sql("UPDATE leases SET acquired_at = acquired_at - interval '90 s'")
    sql("UPDATE leases SET progress_at = progress_at - interval '60 s'")
    beat = registry.beat(lease)
    assert (round(beat.seconds / 10), round(beat.idle_seconds / 10)) == (9, 6)
    registry.append_shard(
        lease, Shard(number=0, key="k", sha256="0" * 64, first_segment=0, last_segment=0, pair_count=1)
    )
    beat = registry.beat(lease)
    assert round(beat.seconds / 10) == 9 and beat.idle_seconds < 10


def test_an_attempt_that_was_replaced_can_write_nothing(registry, work, sql, contents):
    claim = work.claim()
    candidate = work.proven(claim)
    old = {role: registry.acquire(claim.job_id, role, f"old-{role}") for role in ("split", "activate")}
    for role in old:
        registry.acquire(claim.job_id, role, f"new-{role}")
    before = contents()
    for call in (
        lambda: registry.beat(old["split"]),
        lambda: registry.stage_started(old["split"]),
        lambda: registry.stage_ended(old["split"], {"segments": 9}),
        lambda: registry.end_open_stage(old["split"]),
        lambda: registry.activate(candidate.name, old["activate"]),
        lambda: registry.fail_job(claim.job_id, "I gave up", False, ("split", "old-split")),
    ):
        with pytest.raises(FencedError):
            call()
    registry.end_attempt(old["split"])
    registry.note_waiting(claim.job_id, "split", "old-split", "S3")
    assert contents() == before


def test_a_claim_fences_what_earlier_attempts_of_all_steps_still_do(registry, work):
    claim = work.claim()
    writer = registry.acquire(claim.job_id, "generate", "host:1:run:generate:1")
    registry.acquire(claim.job_id, "claim", "host:2:run:claim:2")
    with pytest.raises(FencedError):
        registry.end_stream(
            writer, StreamEnd(state="failed", shard_count=0, pair_count=0, checksum="", reason="x")
        )
    with pytest.raises(FencedError):
        registry.fail_job(claim.job_id, "too late", False, ("generate", "host:1:run:generate:1"))


def test_another_process_can_tell_that_the_newest_attempt_failed(registry, work, sql):
    claim = work.claim()
    registry.acquire(claim.job_id, "activate", NEW)
    with pytest.raises(FencedError, match="attempt 1"):
        registry.fail_job(claim.job_id, "old news", False, ("activate", OLD))
    assert states(sql) == [("running", None)]
    registry.fail_job(claim.job_id, "worker lost", False, ("activate", NEW.replace("host-b:22", "host-c:33")))
    assert states(sql) == [("failed", "worker lost")]


def test_an_attempt_that_died_before_it_had_a_lease_can_fail_the_job(registry, work, sql):
    claim = work.claim()
    registry.acquire(claim.job_id, "activate", OLD)
    registry.fail_job(claim.job_id, "it ended while it loaded", False, ("activate", NEW))
    assert states(sql) == [("failed", "it ended while it loaded")]


def test_a_step_that_is_cleared_takes_a_failed_job_up_again(registry, work, sql):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "generate", "one")
    registry.end_stream(
        lease, StreamEnd(state="failed", shard_count=0, pair_count=0, checksum="c", reason="too few")
    )
    registry.fail_job(claim.job_id, "too few", permanent=True)
    registry.acquire(claim.job_id, "train", "reader")
    # The reader alone does not undo the end that it is to meet.
    assert registry.stream_end(claim.job_id) is not None
    registry.acquire(claim.job_id, "generate", "two")
    assert registry.stream_end(claim.job_id) is None
    assert states(sql) == [("running", None)]


def test_waiting_is_shown_while_it_is_true(registry, work, sql):
    claim = work.claim()
    registry.acquire(claim.job_id, "generate", "one")
    assert registry.waiting_for(claim.job_id, "generate") is None
    registry.note_waiting(claim.job_id, "generate", "one", "vLLM does not answer")
    assert registry.waiting_for(claim.job_id, "generate") == "vLLM does not answer"
    silent(sql)
    assert registry.waiting_for(claim.job_id, "generate") is None
    registry.note_waiting(claim.job_id, "generate", "one", "vLLM does not answer")
    registry.acquire(claim.job_id, "generate", "one")
    assert registry.waiting_for(claim.job_id, "generate") is None


def test_a_deadlock_is_a_conflict_and_the_server_is_not_called_away(registry, work, background):
    met = threading.Barrier(2)
    query = text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE")

    def lock(ids):
        with registry.transaction() as connection:
            connection.execute(query, {"id": ids[0]})
            met.wait(30)
            connection.execute(query, {"id": ids[1]})

    ids = [work.claim("a.md", "e1").job_id, work.claim("b.md", "e2").job_id]
    calls = [background(lock, ids), background(lock, ids[::-1])]
    errors = [call.exception(60) for call in calls]
    assert [type(error) for error in errors if error] == [ConflictError]


def test_a_replaced_attempt_does_not_fail_the_job_through_the_steps(registry, store, settings, work, sql):
    claim = work.claim()
    registry.acquire(claim.job_id, "train", "h:1:run:train:2")
    steps = Steps(registry, store, settings)
    with pytest.raises(FencedError):
        steps.fail(claim.run_id, "lost", permanent=False, by=("train", "h:0:run:train:1"))
    assert states(sql) == [("running", None)]

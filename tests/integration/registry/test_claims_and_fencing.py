"""Jobs are claimed by their run and written only under the newest token; no row can be forced past that."""

import itertools

import psycopg2
import pytest

from lift_core.errors import AlreadyDoneError, FencedError, NotFoundError
from lift_core.records import Recipe, Shard, StreamEnd

STEPS_TO = {
    "queued": (),
    "admitted": ("admitted",),
    "running": ("admitted", "running"),
    "done": ("admitted", "running", "done"),
    "failed": ("admitted", "running", "failed"),
    "cancelled": ("cancelled",),
}
LEGAL = {
    ("queued", "admitted"),
    ("queued", "cancelled"),
    ("queued", "failed"),
    ("admitted", "running"),
    ("admitted", "cancelled"),
    ("admitted", "failed"),
    ("running", "done"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("failed", "running"),
    ("failed", "cancelled"),
}


def shard(number, first=None, last=None):
    first = number if first is None else first
    return Shard(
        number=number,
        key=f"shard-{number}-{first}",
        sha256="0" * 64,
        first_segment=first,
        last_segment=first if last is None else last,
        pair_count=1,
    )


def end(state="complete", reason=None):
    return StreamEnd(state=state, shard_count=0, pair_count=0, checksum="c", reason=reason)


# --- claims ---------------------------------------------------------------------------------


def test_a_claim_tells_what_the_run_needs(registry, work):
    job = work.arrive("folder/My Report.md", "e7")
    registry.admit_job(job.job_id)
    claim = registry.claim(job.run_id)
    assert (claim.job_id, claim.run_id, claim.slug) == (job.job_id, job.run_id, "my-report")
    assert (claim.bucket, claim.key, claim.etag) == ("inbox", "folder/My Report.md", "e7")
    assert (claim.version, claim.size, claim.recipe) == (1, 100, work.recipe)
    assert registry.claim(job.run_id) == claim
    assert registry.document("my-report").state == "splitting"


def test_a_run_that_nobody_knows_is_refused(registry):
    with pytest.raises(NotFoundError, match="stranger-v1"):
        registry.claim("stranger-v1-00000000-g1")
    with pytest.raises(NotFoundError, match="stranger-v1"):
        registry.job_of_run("stranger-v1-00000000-g1")


def test_a_job_that_was_not_admitted_cannot_be_claimed(registry, work):
    job = work.arrive()
    with pytest.raises(AlreadyDoneError, match="the job is queued"):
        registry.claim(job.run_id)
    assert registry.document("report").state == "queued"


def test_a_job_that_is_done_cannot_be_claimed(registry, work):
    claim = work.claim()
    work.finish(claim)
    with pytest.raises(AlreadyDoneError, match="the job is done"):
        registry.claim(claim.run_id)


def test_a_cancelled_job_cannot_be_claimed_and_tells_why(registry, work):
    job = work.arrive(etag="e1")
    work.arrive(etag="e2")
    with pytest.raises(AlreadyDoneError, match=r"cancelled \(a newer version arrived\)"):
        registry.claim(job.run_id)


def test_a_failed_job_is_taken_up_again_by_its_run(registry, work):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "generate", "test")
    registry.append_shard(lease, shard(0))
    registry.end_stream(lease, end("failed", "too few pairs"))
    registry.fail_job(claim.job_id, "too few pairs", permanent=True)
    document = registry.document("report")
    assert (document.state, document.reason) == ("failed", "too few pairs")

    assert registry.claim(claim.run_id) == claim
    document = registry.document("report")
    assert document.state != "failed"
    assert document.reason is None
    assert registry.stream_end(claim.job_id) is None
    assert registry.shards(claim.job_id) == [shard(0)]
    work.finish(claim)
    assert registry.document("report").state == "ready"


def test_a_run_of_a_superseded_version_ends_and_does_not_come_back(registry, work):
    claim = work.claim(etag="e1")
    work.arrive(etag="e2")
    for _ in range(2):
        with pytest.raises(AlreadyDoneError, match="a newer version arrived"):
            registry.claim(claim.run_id)


def test_a_job_that_has_ended_keeps_how_it_ended(registry, work):
    claim = work.claim()
    work.finish(claim)
    registry.fail_job(claim.job_id, "too late", permanent=False)
    document = registry.document("report")
    assert (document.state, document.reason) == ("ready", None)


def test_claims_of_one_run_at_once_all_get_the_same_job(registry, work, together, sql):
    job = work.arrive()
    registry.admit_job(job.job_id)
    claims = together(6, lambda _: registry.claim(job.run_id))
    assert claims == [claims[0]] * 6
    assert sql("SELECT count(*) FROM events WHERE kind = 'job.running'") == [(1,)]


# --- what trainers wait for -------------------------------------------------------------------


def test_a_trainer_waits_for_the_first_row_of_its_own_job(registry, work):
    claims = [work.claim(f"{name}.md") for name in ("shard", "complete", "failed", "silent")]
    ids = [claim.job_id for claim in claims]
    assert registry.streams_begun(ids) == {}

    leases = [registry.acquire(job, "generate", "test") for job in ids]
    assert registry.streams_begun(ids) == {}
    registry.append_shard(leases[0], shard(0))
    registry.end_stream(leases[1], end())
    registry.end_stream(leases[2], end("failed", "too few pairs"))
    assert registry.streams_begun(ids) == dict.fromkeys(ids[:3], True)
    assert registry.streams_begun(ids[3:]) == {}


def test_a_trainer_does_not_wait_for_a_job_that_ended_without_a_stream(registry, work):
    claim = work.claim()
    registry.fail_job(claim.job_id, "the generator is away for good", permanent=False)
    assert registry.streams_begun([claim.job_id, 4711]) == {claim.job_id: False, 4711: False}
    registry.claim(claim.run_id)
    assert registry.streams_begun([claim.job_id]) == {}


# --- fencing --------------------------------------------------------------------------------


def test_every_attempt_gets_a_higher_token_and_only_the_newest_may_write(registry, work, together):
    claim = work.claim()
    leases = together(8, lambda n: registry.acquire(claim.job_id, "generate", f"host-{n}"))
    assert sorted(lease.token for lease in leases) == list(range(1, 9))
    for lease in sorted(leases, key=lambda each: each.token)[:-1]:
        with pytest.raises(FencedError, match="replaced by attempt 8"):
            registry.append_shard(lease, shard(0))
    registry.append_shard(max(leases, key=lambda each: each.token), shard(0))
    assert registry.shards(claim.job_id) == [shard(0)]


def test_an_old_token_may_not_append_a_shard(registry, work):
    claim = work.claim()
    old = registry.acquire(claim.job_id, "generate", "old")
    registry.append_shard(old, shard(0))
    registry.acquire(claim.job_id, "generate", "new")
    with pytest.raises(FencedError, match="new"):
        registry.append_shard(old, shard(1))
    assert registry.shards(claim.job_id) == [shard(0)]


def test_an_old_token_may_not_end_the_stream(registry, work):
    claim = work.claim()
    old = registry.acquire(claim.job_id, "generate", "old")
    new = registry.acquire(claim.job_id, "generate", "new")
    with pytest.raises(FencedError):
        registry.end_stream(old, end("failed", "I gave up"))
    assert registry.stream_end(claim.job_id) is None
    registry.end_stream(new, end())
    assert registry.stream_end(claim.job_id) == end()


def test_an_old_token_may_not_register_an_adapter(registry, work):
    claim = work.claim()
    old = registry.acquire(claim.job_id, "train", "old")
    registry.acquire(claim.job_id, "train", "new")
    with pytest.raises(FencedError):
        registry.register_candidate(old, "old/", {"a": "0" * 64}, {})
    assert registry.adapters().adapters == ()
    assert registry.adapter_of_job(claim.job_id) is None


def test_a_token_of_one_role_says_nothing_about_another(registry, work):
    claim = work.claim()
    writer = registry.acquire(claim.job_id, "generate", "writer")
    registry.acquire(claim.job_id, "train", "first")
    trainer = registry.acquire(claim.job_id, "train", "second")
    registry.append_shard(writer, shard(0))
    assert registry.register_candidate(trainer, "p/", {}, {}).name == "report-v1"


def test_a_write_that_waits_while_a_newer_attempt_begins_is_refused(
    registry, work, connect, background, wait_for_blocked
):
    claim = work.claim()
    old = registry.acquire(claim.job_id, "generate", "old")
    # A newer attempt that is about to commit its token.
    newer = connect()
    newer.cursor().execute("UPDATE leases SET token = token + 1, holder = 'new'")
    writing = background(registry.append_shard, old, shard(0))
    wait_for_blocked(1)
    newer.commit()
    with pytest.raises(FencedError):
        writing.result(30)
    assert registry.shards(claim.job_id) == []


@pytest.mark.parametrize(
    "wrong",
    [shard(2, first=1), shard(0, first=0), shard(1, first=2), shard(1, first=0)],
    ids=["a gap in numbers", "the same again", "a gap in segments", "segments twice"],
)
def test_a_shard_that_is_not_the_next_one_is_refused(registry, work, wrong):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "generate", "test")
    registry.append_shard(lease, shard(0))
    with pytest.raises(FencedError, match="not the next one"):
        registry.append_shard(lease, wrong.model_copy(update={"key": "another"}))
    assert registry.shards(claim.job_id) == [shard(0)]


def test_a_stream_that_has_ended_takes_no_more(registry, work):
    claim = work.claim()
    lease = registry.acquire(claim.job_id, "generate", "test")
    registry.append_shard(lease, shard(0, last=3))
    registry.end_stream(lease, end())
    with pytest.raises(FencedError, match="ended"):
        registry.append_shard(lease, shard(1, first=4))
    registry.end_stream(lease, end("failed", "changed my mind"))
    assert registry.stream_end(claim.job_id) == end()


# --- what the database itself refuses ---------------------------------------------------------


def test_the_database_refuses_every_move_of_a_job_but_the_legal_ones(registry, work, connect):
    work.arrive()
    connection = connect()
    allowed = set()
    for before, after in itertools.permutations(STEPS_TO, 2):
        with connection.cursor() as cursor:
            for state in STEPS_TO[before]:
                cursor.execute("UPDATE jobs SET state = %s, reason = 'test'", (state,))
            try:
                cursor.execute("UPDATE jobs SET state = %s, reason = 'test'", (after,))
                allowed.add((before, after))
            except psycopg2.errors.RaiseException as error:
                assert f"cannot move from {before} to {after}" in str(error)
        connection.rollback()
    assert allowed == LEGAL
    assert registry.document("report").state == "queued"


def test_a_job_cannot_fail_without_a_reason_or_be_in_an_unknown_state(work, sql):
    work.arrive()
    with pytest.raises(psycopg2.errors.CheckViolation):
        sql("UPDATE jobs SET state = 'failed', reason = NULL")
    with pytest.raises(psycopg2.Error):
        sql("UPDATE jobs SET state = 'paused'")
    assert sql("SELECT state FROM jobs") == [("queued",)]


def test_one_version_has_one_job_a_recipe_and_generation(work, sql):
    work.arrive()
    with pytest.raises(psycopg2.errors.UniqueViolation):
        sql(
            "INSERT INTO jobs (version_id, recipe_digest, generation, run_id) "
            "SELECT version_id, recipe_digest, generation, 'another' FROM jobs"
        )


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET kind = kind", "DELETE FROM events", "TRUNCATE events CASCADE"]
)
def test_events_can_only_be_added(work, sql, statement):
    work.arrive()
    before = sql("SELECT * FROM events ORDER BY id")
    assert before
    with pytest.raises(psycopg2.Error, match="append-only"):
        sql(statement)
    assert sql("SELECT * FROM events ORDER BY id") == before


@pytest.mark.parametrize(
    "changes",
    [
        (
            "name = 'report-v9'",
            "prefix = 'elsewhere/'",
            """files = '{"adapter_model.safetensors": "other"}'""",
            "files = '{}'",
            "job_id = (SELECT max(id) FROM jobs)",
        ),
        (
            "version_id = (SELECT max(id) FROM versions)",
            "document_id = (SELECT max(id) FROM documents)",
            "recipe_digest = (SELECT digest FROM recipes WHERE digest <> recipe_digest)",
            "base_model = 'another'",
            "base_revision = 'another'",
        ),
    ],
    ids=["its name and its files", "where it comes from"],
)
def test_what_an_adapter_is_cannot_be_changed(registry, work, sql, changes):
    adapter = work.active("report.md")
    registry.record_arrivals([work.arrival("other.md", "e9")], Recipe(base_model="another"))
    allowed = []
    for change in changes:
        try:
            sql(f"UPDATE adapters SET {change}")
            allowed.append(change)
        except psycopg2.errors.RaiseException as error:
            assert "adapter report-v1 is immutable" in str(error)
    assert allowed == []
    assert registry.adapter("report-v1") == adapter

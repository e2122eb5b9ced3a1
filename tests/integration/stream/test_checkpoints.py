"""A training's checkpoints in a real registry and store: committed whole, fenced, and tidied away."""

import json
import random
import signal
import subprocess
import sys
from datetime import timedelta

import psycopg2
import pytest
from structlog.testing import capture_logs

from lift_core.errors import FencedError, StateError
from lift_core.housekeeping import Housekeeping
from lift_core.records import Checkpoint
from lift_core.store import layout
from lift_core.stream.checkpoints import StoredCheckpoints

AT_ONCE = timedelta(0)
# Saves one checkpoint as a new attempt.
SAVER = """
import sys
from pathlib import Path
from lift_core.registry import AdapterRegistry
from lift_core.settings import get_settings
from lift_core.store import ObjectStore
from lift_core.stream.checkpoints import StoredCheckpoints

job, file = int(sys.argv[1]), Path(sys.argv[2])
settings = get_settings()
registry, store = AdapterRegistry.from_settings(settings), ObjectStore.from_settings(settings)
lease = registry.acquire(job, "train", "saver")
print("attempt", lease.token, flush=True)
sys.stdin.readline()
StoredCheckpoints(registry, store, lease, settings.work_bucket, file.parent).save(file, 8)
print("saved", flush=True)
"""


@pytest.fixture
def claim(work):
    return work.claim()


@pytest.fixture
def attempt(registry, store, settings, tmp_path):
    """The checkpoints of a new attempt to train a job."""

    def begin(job_id):
        lease = registry.acquire(job_id, "train", "test")
        scratch = tmp_path / f"scratch-{job_id}-{lease.token}"
        return StoredCheckpoints(registry, store, lease, settings.work_bucket, scratch)

    return begin


@pytest.fixture
def state(tmp_path):
    """A file with these bytes, as a trainer writes it."""

    def write(data):
        file = tmp_path / "state"
        file.write_bytes(data)
        return file

    return write


@pytest.fixture
def objects(store, settings):
    """Keys of all checkpoints in the store, whatever the registry knows of them."""
    return lambda: {
        found.key for found in store.list(settings.work_bucket, "jobs/") if "/checkpoints/" in found.key
    }


@pytest.fixture
def keeper(registry, store, settings):
    return Housekeeping(registry, store, settings)


# --- saved and found ------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was_and_goes_with_the_adapter(
    registry, work, claim, attempt, state, objects
):
    first = attempt(claim.job_id)
    assert first.newest() is None
    first.save(state(b"after 3"), 3)
    data = random.Random(0).randbytes(6 * 2**20)  # so large that it is put in parts
    first.save(state(data), 7)
    second = attempt(claim.job_id)
    assert second.newest().read_bytes() == data
    row = registry.checkpoint(claim.job_id)
    assert (row.token, row.step, row.size) == (1, 7, len(data))
    assert objects() == {row.key}

    second.save(state(b"after 9"), 9)
    assert attempt(claim.job_id).newest().read_bytes() == b"after 9"
    with pytest.raises(StateError, match="no adapter yet"):
        second.clear()
    assert attempt(claim.job_id).newest().read_bytes() == b"after 9"
    work.candidate(claim)
    # Whoever trained it may clear, and may do so again.
    second.clear()
    second.clear()
    assert registry.checkpoint(claim.job_id) is None
    assert objects() == set()


def test_each_job_has_a_checkpoint_of_its_own(work, attempt, state):
    jobs = [work.claim(key).job_id for key in ("a.md", "b.md")]
    for job in jobs:
        attempt(job).save(state(f"of {job}".encode()), 1)
    assert [attempt(job).newest().read_bytes() for job in jobs] == [f"of {job}".encode() for job in jobs]


@pytest.mark.parametrize("damage", [b"after 4", b"aft", None], ids=["changed", "cut", "gone"])
def test_a_damaged_checkpoint_is_none_and_the_warning_says_why(
    registry, store, settings, claim, attempt, state, damage
):
    attempt(claim.job_id).save(state(b"after 3"), 3)
    key = registry.checkpoint(claim.job_id).key
    if damage is None:
        store.remove(settings.work_bucket, key)
    else:
        store.put_bytes(settings.work_bucket, key, damage)
    second = attempt(claim.job_id)
    with capture_logs() as logs:
        assert second.newest() is None
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert f"s3://{settings.work_bucket}/{key}" in warning["why"]
    second.save(state(b"anew"), 1)
    assert attempt(claim.job_id).newest().read_bytes() == b"anew"


# --- attempts -------------------------------------------------------------------------------


def test_a_replaced_attempt_cannot_replace_the_checkpoint(registry, claim, attempt, state, contents):
    orphan = attempt(claim.job_id)
    orphan.save(state(b"after 3"), 3)
    heir = attempt(claim.job_id)
    with pytest.raises(FencedError, match="was replaced by attempt 2"):
        orphan.save(state(b"after 9"), 9)
    assert heir.newest().read_bytes() == b"after 3"
    heir.save(state(b"after 4"), 4)
    before = contents()
    with pytest.raises(FencedError):
        orphan.save(state(b"after 10"), 10)
    assert contents() == before
    assert attempt(claim.job_id).newest().read_bytes() == b"after 4"


def test_an_attempt_that_is_replaced_while_it_saves_does_not_commit(
    registry, claim, attempt, state, connect, background, wait_for_blocked
):
    orphan = attempt(claim.job_id)
    orphan.save(state(b"after 3"), 3)
    newer = connect()
    newer.cursor().execute("UPDATE leases SET token = token + 1, holder = 'new'")
    saving = background(orphan.save, state(b"after 9"), 9)
    wait_for_blocked(1)
    newer.commit()
    with pytest.raises(FencedError, match="new"):
        saving.result(30)
    assert attempt(claim.job_id).newest().read_bytes() == b"after 3"


def test_attempts_at_once_leave_a_checkpoint_that_is_whole(registry, claim, attempt, tmp_path, together):
    def train(number):
        mine = attempt(claim.job_id)
        file = tmp_path / f"state-{number}"
        said = []
        for step in range(1, 6):
            file.write_text(f"attempt {number}, step {step}")
            try:
                mine.save(file, step)
            except FencedError:
                break
            said.append(file.read_text())
        return said

    said = together(4, train)
    last = registry.checkpoint(claim.job_id)
    assert (last.token, last.step) == (4, 5), "the newest attempt was to save all its steps"
    assert attempt(claim.job_id).newest().read_text() in {each[-1] for each in said if len(each) == 5}


def test_a_checkpoint_never_goes_back(registry, claim, attempt, state, sql, contents):
    first = attempt(claim.job_id)
    first.save(state(b"after 5"), 5)
    before = contents()
    with pytest.raises(ValueError, match=r"step 4 is before step 5"):
        first.save(state(b"after 4"), 4)
    for wrong in ("token = token - 1", "step = step - 1", "job_id = job_id + 1"):
        with pytest.raises(psycopg2.Error, match="cannot go back"):
            sql(f"UPDATE checkpoints SET {wrong}")
    assert contents() == before
    attempt(claim.job_id).save(state(b"anew"), 1)
    with pytest.raises(psycopg2.Error, match="cannot go back from attempt 2, step 1 to attempt 1, step 9"):
        sql("UPDATE checkpoints SET token = 1, step = 9")


# Where the saver waits: after its object and before its row, and within the row's transaction.
@pytest.mark.parametrize(
    "stop", ["SELECT 1 FROM leases FOR UPDATE", "LOCK TABLE checkpoints IN SHARE MODE"], ids=["before", "in"]
)
def test_a_saver_killed_between_object_and_row_leaves_the_checkpoint_before_it(
    claim, attempt, state, objects, environment, connect, wait_for_blocked, registry, stop
):
    attempt(claim.job_id).save(state(b"after 3"), 3)
    known = registry.checkpoint(claim.job_id)
    saver = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(claim.job_id), str(state(b"after 8"))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with saver:
        assert saver.stdout.readline() == "attempt 2\n"
        holder = connect()
        holder.cursor().execute(stop)
        print(file=saver.stdin, flush=True)
        wait_for_blocked(1)
        left = objects() - {known.key}
        saver.kill()
        assert saver.stdout.read() == "", "it had saved before it was killed"
        holder.rollback()
    assert saver.returncode == -signal.SIGKILL
    assert left == {layout.checkpoint_key(claim.job_id, 2, 8)}

    assert registry.checkpoint(claim.job_id) == known
    third = attempt(claim.job_id)
    assert third.newest().read_bytes() == b"after 3"
    third.save(state(b"after 4"), 4)
    assert attempt(claim.job_id).newest().read_bytes() == b"after 4"


# --- housekeeping ---------------------------------------------------------------------------


@pytest.fixture
def trainings(registry, store, settings, work, attempt, state):
    """A training with a checkpoint for each way that a job can be; their keys."""

    def make():
        claims = {}
        for name in ("running", "failed", "for-good", "cancelled", "candidate", "done"):
            claims[name] = work.claim(f"{name}.md", f"{name}-1")
            attempt(claims[name].job_id).save(state(name.encode()), 3)
        registry.fail_job(claims["failed"].job_id, "the store went away", permanent=False)
        registry.fail_job(claims["for-good"].job_id, "the loss is not finite", permanent=True)
        work.arrive("cancelled.md", "cancelled-2")
        with pytest.raises(Exception, match="a newer version arrived"):
            registry.claim(claims["cancelled"].run_id)
        for adapter in (work.candidate(claims["candidate"]), work.finish(claims["done"])):
            for file in adapter.files:
                store.put_bytes(settings.adapters_bucket, f"{adapter.prefix}{file}", b"x")
        return claims, {name: registry.checkpoint(claim.job_id).key for name, claim in claims.items()}

    return make


def test_checkpoints_that_nobody_needs_go_and_those_of_open_trainings_stay(
    keeper, registry, store, settings, work, attempt, state, objects, trainings, contents
):
    claims, keys = trainings()
    useless = {keys[name] for name in ("for-good", "cancelled", "candidate", "done")}
    # Objects without a row: of an attempt that was replaced, of one that may be about to commit,
    # of a training that is over, of a job that nobody knows.
    running = claims["running"].job_id
    attempt(running)
    replaced = layout.checkpoint_key(running, 1, 4)
    current = layout.checkpoint_key(running, 2, 4)
    ended = layout.checkpoint_key(claims["done"].job_id, 1, 2)
    unknown = layout.checkpoint_key(10**9, 1, 1)
    for key in (replaced, current, ended, unknown):
        store.put_bytes(settings.work_bucket, key, b"x")
    orphans = useless | {replaced, ended, unknown}
    before, there = contents(), objects()

    assert list(keeper.orphans(older_than=timedelta(hours=1), delete=True)) == []
    found = {each.key: each.why for each in keeper.orphans(older_than=AT_ONCE)}
    assert found.keys() == orphans
    assert found[keys["done"]] == "its training is over"
    assert found[unknown] == "its job is not in the registry"
    assert "newer attempt" in found[replaced]
    assert contents() == before and objects() == there, "something went that was only to be named"

    done = list(keeper.orphans(older_than=AT_ONCE, delete=True))
    assert {each.key for each in done} == orphans and all(each.deleted for each in done)
    assert objects() == there - orphans == {keys["running"], keys["failed"], current}
    for name, claim in claims.items():
        kept = registry.checkpoint(claim.job_id)
        assert (kept.key if kept else None) == (keys[name] if name in ("running", "failed") else None)
    assert list(keeper.orphans(older_than=AT_ONCE)) == []

    # The open ones go on where they were, and so does whatever is begun again.
    for name in ("running", "failed"):
        assert attempt(claims[name].job_id).newest().read_bytes() == name.encode()
    registry.claim(claims["for-good"].run_id)
    with capture_logs() as logs:
        again = attempt(claims["for-good"].job_id)
        assert again.newest() is None
    assert [line for line in logs if line["log_level"] == "warning"] == []
    again.save(state(b"anew"), 1)
    assert again.newest().read_bytes() == b"anew"


def test_a_job_that_is_taken_up_while_it_is_tidied_keeps_its_checkpoint(
    keeper, registry, attempt, trainings, monkeypatch
):
    claims, _ = trainings()
    known = registry.known_checkpoints

    def taken_up_meanwhile(keys):
        registry.claim(claims["for-good"].run_id)
        return known(keys)

    monkeypatch.setattr(registry, "known_checkpoints", taken_up_meanwhile)
    assert len(list(keeper.orphans(older_than=AT_ONCE, delete=True))) == 3
    assert attempt(claims["for-good"].job_id).newest().read_bytes() == b"for-good"


def test_the_command_names_and_deletes_them(environment, objects, trainings):
    _, keys = trainings()

    def gc(*words):
        done = subprocess.run(
            [sys.executable, "-m", "lift_core.cli", "registry", "gc", "--older-than", "0", "--json", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return {each["key"]: each["deleted"] for each in json.loads(done.stdout)}

    useless = {keys[name] for name in ("for-good", "cancelled", "candidate", "done")}
    assert gc() == dict.fromkeys(useless, False)
    assert gc("--delete") == dict.fromkeys(useless, True)
    assert objects() == set(keys.values()) - useless
    assert gc() == {}


def test_a_job_that_is_no_more_takes_its_checkpoint_along(registry, claim, attempt, state, sql):
    attempt(claim.job_id).save(state(b"after 3"), 3)
    sql("DELETE FROM jobs")
    assert registry.checkpoint(claim.job_id) is None


def test_a_checkpoint_of_a_job_that_nobody_knows_is_refused(registry, claim):
    lease = registry.acquire(claim.job_id, "train", "test").model_copy(update={"job_id": 10**9})
    with pytest.raises(FencedError, match="the job is gone"):
        registry.save_checkpoint(lease, Checkpoint(token=1, step=1, key="k", sha256="0" * 64, size=1))

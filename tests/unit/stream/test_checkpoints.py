"""Checkpoints: the newest one is found whole or not at all, and an older one never replaces it."""

import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lift_core.errors import FencedError, NotFoundError, ServiceUnavailableError, StateError
from lift_core.records import Lease
from lift_core.stream.checkpoints import StoredCheckpoints


class MemoryRows:
    """The rows' rules without a database; the real ones are tested against PostgreSQL."""

    def __init__(self):
        self.row = None
        self.token = 1
        self.has_adapter = False

    def save_checkpoint(self, lease, checkpoint):
        if lease.token != self.token:
            raise FencedError("replaced")
        if self.row and self.row.token == lease.token and checkpoint.step < self.row.step:
            raise ValueError("before the step that is saved")
        self.row = checkpoint

    def checkpoint(self, job_id):
        return self.row

    def clear_checkpoint(self, job_id):
        if not self.has_adapter:
            raise StateError("no adapter yet")
        key, self.row = self.row and self.row.key, None
        return key


class MemoryStore:
    """An object store in a dictionary; ``away`` names the calls that find the server away."""

    def __init__(self):
        self.objects = {}
        self.puts = 0
        self.away = set()

    def _reach(self, call):
        if call in self.away:
            raise ServiceUnavailableError("the object store is away")

    def put_file(self, bucket, key, path):
        self._reach("put_file")
        self.puts += 1
        self.objects[bucket, key] = path.read_bytes()
        return "etag"

    def get_file(self, bucket, key, path):
        self._reach("get_file")
        if (bucket, key) not in self.objects:
            raise NotFoundError(f"s3://{bucket}/{key} does not exist")
        path.write_bytes(self.objects[bucket, key])

    def remove(self, bucket, key):
        self._reach("remove")
        self.objects.pop((bucket, key), None)


@pytest.fixture
def rows():
    return MemoryRows()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def attempt(rows, store, tmp_path):
    """The checkpoints of an attempt, which fences those before it."""

    def begin(token=1):
        rows.token = max(rows.token, token)
        lease = Lease(job_id=7, role="train", token=token)
        return StoredCheckpoints(rows, store, lease, "work", tmp_path / f"scratch-{token}")

    return begin


@pytest.fixture
def state(tmp_path):
    """A file with these bytes, as a trainer writes it."""

    def write(text):
        file = tmp_path / "state"
        file.write_text(text)
        return file

    return write


def warnings(logs):
    return [line for line in logs if line["log_level"] == "warning"]


def test_a_training_that_never_saved_has_no_checkpoint(attempt):
    assert attempt().newest() is None


def test_the_next_attempt_finds_what_was_saved_last(attempt, state, rows, store):
    first = attempt(1)
    first.save(state("after 3"), 3)
    first.save(state("after 5"), 5)
    found = attempt(2).newest()
    assert isinstance(found, Path)
    assert found.read_text() == "after 5"
    assert (rows.row.token, rows.row.step, rows.row.size) == (1, 5, len("after 5"))
    assert rows.row.sha256 == hashlib.sha256(b"after 5").hexdigest()
    assert list(store.objects) == [("work", rows.row.key)], "the older one was to go"


def test_the_copy_is_in_the_scratch_folder_and_the_trainers_own_file_stays_its(attempt, state, tmp_path):
    file = state("after 3")
    attempt(1).save(file, 3)
    second = attempt(2)
    found = second.newest()
    assert found.parent == tmp_path / "scratch-2"
    assert file.read_text() == "after 3"
    assert second.newest() == found


def test_attempts_and_steps_never_share_an_object(attempt, state, store):
    store.away.add("remove")
    first = attempt(1)
    first.save(state("a"), 1)
    first.save(state("b"), 2)
    attempt(2).save(state("c"), 2)
    assert list(store.objects.values()) == [b"a", b"b", b"c"]
    for _, key in store.objects:
        assert key.startswith("jobs/7/checkpoints/")


def test_a_replaced_attempt_is_refused_and_leaves_the_newer_checkpoint_as_it_is(attempt, state, rows):
    orphan = attempt(1)
    orphan.save(state("after 3"), 3)
    heir = attempt(2)
    with pytest.raises(FencedError):
        orphan.save(state("after 9"), 9)
    assert heir.newest().read_text() == "after 3"
    heir.save(state("after 4"), 4)
    with pytest.raises(FencedError):
        orphan.save(state("after 10"), 10)
    assert attempt(3).newest().read_text() == "after 4"
    assert rows.row.token == 2


def test_an_attempt_does_not_go_back_but_a_newer_one_may_begin_anew(attempt, state):
    first = attempt(1)
    first.save(state("after 5"), 5)
    with pytest.raises(ValueError, match="before"):
        first.save(state("after 4"), 4)
    second = attempt(2)
    assert second.newest().read_text() == "after 5"
    second.save(state("anew"), 1)
    assert attempt(3).newest().read_text() == "anew"


def test_a_step_that_is_saved_already_is_not_written_again(attempt, state, store):
    first = attempt(1)
    first.save(state("after 5"), 5)
    first.save(state("after 5 too"), 5)
    assert store.puts == 1
    second = attempt(2)
    assert second.newest().read_text() == "after 5"
    second.save(state("after 5, second attempt"), 5)
    assert attempt(3).newest().read_text() == "after 5, second attempt"


@pytest.mark.parametrize("damage", [b"after 4", b"after", b"", None], ids=["changed", "cut", "empty", "gone"])
def test_a_damaged_checkpoint_is_none_and_the_warning_says_why(attempt, state, rows, store, damage):
    attempt(1).save(state("after 3"), 3)
    if damage is None:
        store.objects.clear()
    else:
        store.objects["work", rows.row.key] = damage
    second = attempt(2)
    with capture_logs() as logs:
        assert second.newest() is None
    (warning,) = warnings(logs)
    assert rows.row.key in warning["why"]
    assert ("does not exist" if damage is None else "sha256") in warning["why"]
    assert (warning["job"], warning["step"]) == (7, 3)
    second.save(state("anew"), 1)
    assert attempt(3).newest().read_text() == "anew"


def test_a_store_that_is_away_is_no_reason_to_begin_anew(attempt, state, store):
    attempt(1).save(state("after 3"), 3)
    store.away.add("get_file")
    with pytest.raises(ServiceUnavailableError):
        attempt(2).newest()


def test_a_checkpoint_that_could_not_be_put_leaves_the_one_before(attempt, state, store):
    first = attempt(1)
    first.save(state("after 3"), 3)
    store.away.add("put_file")
    with pytest.raises(ServiceUnavailableError):
        first.save(state("after 4"), 4)
    assert attempt(2).newest().read_text() == "after 3"


def test_an_old_object_that_cannot_be_deleted_is_told_and_stops_nothing(attempt, state, rows, store):
    first = attempt(1)
    first.save(state("after 3"), 3)
    old = rows.row.key
    store.away.add("remove")
    with capture_logs() as logs:
        first.save(state("after 4"), 4)
    (warning,) = warnings(logs)
    assert (warning["key"], warning["why"]) == (old, "the object store is away")
    assert first.newest().read_text() == "after 4"
    rows.has_adapter = True
    with capture_logs() as logs:
        first.clear()
    (warning,) = warnings(logs)
    assert store.objects["work", warning["key"]] == b"after 4"
    assert first.newest() is None


def test_once_the_adapter_is_there_the_checkpoint_goes(attempt, state, rows, store):
    first = attempt(1)
    first.save(state("after 3"), 3)
    with pytest.raises(StateError):
        first.clear()
    assert first.newest().read_text() == "after 3"
    rows.has_adapter = True
    first.clear()
    assert store.objects == {}
    assert first.newest() is None
    first.clear()

"""Local copies are complete and verified or not there, and none that a server may read is deleted."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lift_core.errors import NotFoundError, RefusedFilesError, ServiceUnavailableError
from lift_core.records import AdapterRecord
from lift_core.serving.cache import AdapterCache
from lift_core.serving.verification import AlteredFilesError

BUCKET = "adapters"
BODIES = {"adapter_model.safetensors": b"w" * 90, "adapter_config.json": b"c" * 10}
COPY_BYTES = 100
HOUR = 3600


class FakeStore:
    """Holds objects in memory, and counts what was asked for."""

    def __init__(self):
        self.objects = {}
        self.asked = []
        self.away = False

    def get_file(self, bucket, key, path):
        self.asked.append(key)
        if self.away and len(self.asked) > 1:
            raise ServiceUnavailableError("the store is away")
        if (bucket, key) not in self.objects:
            raise NotFoundError(f"s3://{bucket}/{key} does not exist")
        path.write_bytes(self.objects[bucket, key])


def verify(folder, adapter):
    """Compares the registered sha256, as the real one does first."""
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    if there != adapter.files:
        raise AlteredFilesError(f"adapter {adapter.name} is not what was registered")


def record(name):
    return AdapterRecord(
        name=name,
        aliases=(),
        bucket="inbox",
        document="report.md",
        slug="report",
        version=1,
        title="Report",
        base_model="base",
        base_revision="1",
        recipe="0" * 64,
        state="active",
        prefix=f"jobs/{name}/",
        files={file: hashlib.sha256(body).hexdigest() for file, body in BODIES.items()},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        activated_at=None,
        scores={},
        tags={},
    )


@pytest.fixture
def store():
    made = FakeStore()
    for name in ("a-v1", "b-v1", "c-v1", "d-v1"):
        for file, body in BODIES.items():
            made.objects[BUCKET, f"jobs/{name}/{file}"] = body
    return made


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def make(folder, max_bytes=10 * COPY_BYTES, grace_seconds=0.0):
    return AdapterCache(folder, BUCKET, max_bytes, grace_seconds)


def fill(cache, store, *names):
    """Fetch adapters, each used later than the one before."""
    for number, name in enumerate(names):
        place = cache.fetch(record(name), store, verify)
        at = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + number
        os.utime(place, (at, at))


def names(cache):
    return [copy.name for copy in cache.entries()]


# --- fetching ---------------------------------------------------------------------------------


def test_an_adapter_is_downloaded_once(folder, store):
    cache = make(folder)
    place = cache.fetch(record("a-v1"), store, verify)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == BODIES
    assert cache.fetch(record("a-v1"), store, verify) == place
    assert sorted(store.asked) == [f"jobs/a-v1/{file}" for file in sorted(BODIES)]
    assert (cache.downloads, cache.hits) == (1, 1)
    assert [(copy.name, copy.bytes) for copy in cache.entries()] == [("a-v1", COPY_BYTES)]


def test_using_a_copy_makes_it_the_most_recently_used(folder, store):
    cache = make(folder)
    fill(cache, store, "a-v1", "b-v1")
    cache.fetch(record("a-v1"), store, verify)
    assert max(cache.entries(), key=lambda copy: copy.used_at).name == "a-v1"


def test_a_copy_is_verified_before_it_can_be_seen(folder, store):
    cache = make(folder)
    seen = []

    def look(place, adapter):
        seen.append((place.name, names(cache)))
        verify(place, adapter)

    cache.fetch(record("a-v1"), store, look)
    assert len(seen) == 1
    assert seen[0][0] != "a-v1" and seen[0][1] == []


def test_what_is_refused_leaves_nothing(folder, store):
    store.objects[BUCKET, "jobs/a-v1/adapter_config.json"] = b"tampered"
    cache = make(folder)
    with pytest.raises(RefusedFilesError, match="not what was registered"):
        cache.fetch(record("a-v1"), store, verify)
    assert list(folder.iterdir()) == []
    assert cache.downloads == 0


def test_a_file_that_the_store_lacks_is_refused_by_name(folder, store):
    del store.objects[BUCKET, "jobs/a-v1/adapter_config.json"]
    with pytest.raises(
        RefusedFilesError, match=r"a-v1 lacks its file adapter_config\.json.*s3://adapters/jobs"
    ):
        make(folder).fetch(record("a-v1"), store, verify)
    assert list(folder.iterdir()) == []


def test_a_store_that_goes_away_leaves_nothing_and_is_asked_again(folder, store):
    cache = make(folder)
    store.away = True
    with pytest.raises(ServiceUnavailableError):
        cache.fetch(record("a-v1"), store, verify)
    assert list(folder.iterdir()) == []
    store.away = False
    assert cache.fetch(record("a-v1"), store, verify).is_dir()


@pytest.mark.parametrize("changes", [{"name": "../a-v1"}, {"files": {"../evil.json": "0" * 64}}])
def test_a_name_from_outside_becomes_no_path(folder, store, changes):
    with pytest.raises(RefusedFilesError):
        make(folder).fetch(record("a-v1").model_copy(update=changes), store, verify)
    assert store.asked == [] and not folder.exists()


def test_a_download_that_is_killed_leaves_nothing_to_be_seen(folder, store):
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cache import make, record, verify
class Stuck:
    def get_file(self, bucket, key, path):
        path.write_bytes(b"part")
        print("writing", flush=True)
        sys.stdin.read()
make(Path({str(folder)!r})).fetch(record("a-v1"), Stuck(), verify)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    cache = make(folder)
    assert names(cache) == [] and len(list(folder.iterdir())) == 1
    assert cache.fetch(record("a-v1"), store, verify).is_dir()
    # A young leftover may be of a process that lives; an old one is not.
    (leftover,) = [path for path in folder.iterdir() if path.name.startswith(".")]
    cache.evict(lambda: ["a-v1"])
    assert leftover.is_dir()
    old = leftover.stat().st_mtime - 2 * HOUR
    os.utime(leftover, (old, old))
    cache.evict(lambda: ["a-v1"])
    assert [path.name for path in folder.iterdir()] == ["a-v1"]


# --- copies that were there -------------------------------------------------------------------


def test_a_copy_of_an_earlier_process_is_verified_whole_once(folder, store):
    make(folder).fetch(record("a-v1"), store, verify)
    later = make(folder)
    seen = []
    for _ in range(3):
        later.fetch(record("a-v1"), store, lambda place, adapter: seen.append(place.name))
    assert seen == ["a-v1"]
    assert (later.hits, later.downloads) == (3, 0)


@pytest.mark.parametrize("same_process", [True, False])
def test_a_damaged_copy_is_fetched_anew(folder, store, same_process):
    cache = make(folder)
    place = cache.fetch(record("a-v1"), store, verify)
    (place / "adapter_config.json").write_bytes(b"c" * 9)
    again = (cache if same_process else make(folder)).fetch(record("a-v1"), store, verify)
    assert (again / "adapter_config.json").read_bytes() == BODIES["adapter_config.json"]
    assert [path.name for path in folder.iterdir()] == ["a-v1"]


def test_a_damaged_copy_stays_where_it_is_until_there_is_a_good_one(folder, store):
    place = make(folder).fetch(record("a-v1"), store, verify)
    (place / "adapter_config.json").write_bytes(b"c" * 9)
    store.away = True
    with pytest.raises(ServiceUnavailableError):
        make(folder).fetch(record("a-v1"), store, verify)
    assert (place / "adapter_config.json").read_bytes() == b"c" * 9


def test_a_copy_that_does_not_fit_this_server_stays_for_others(folder, store):
    make(folder).fetch(record("a-v1"), store, verify)

    def too_large(place, adapter):
        raise RefusedFilesError("rank 64 is above 16")

    with pytest.raises(RefusedFilesError, match="rank 64"):
        make(folder).fetch(record("a-v1"), store, too_large)
    assert names(make(folder)) == ["a-v1"]


def test_two_threads_that_fetch_at_once_both_get_the_whole_copy(folder, store):
    barrier = threading.Barrier(2)

    def together(place, adapter):
        if place.name != adapter.name:
            barrier.wait(30)
        verify(place, adapter)

    cache = make(folder)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: cache.fetch(record("a-v1"), store, together), range(2)))
    assert found == [folder / "a-v1"] * 2
    verify(found[0], record("a-v1"))
    assert [path.name for path in folder.iterdir()] == ["a-v1"]


# --- deleting ---------------------------------------------------------------------------------


def test_the_least_recently_used_copies_go_until_the_rest_fits(folder, store):
    cache = make(folder, max_bytes=2 * COPY_BYTES)
    fill(cache, store, "b-v1", "a-v1", "c-v1", "d-v1")
    assert cache.evict(lambda: []) == ["b-v1", "a-v1"]
    assert names(cache) == ["c-v1", "d-v1"]
    assert sorted(path.name for path in folder.iterdir()) == ["c-v1", "d-v1"]
    assert cache.evict(lambda: []) == []


def test_what_the_server_lists_stays_however_old_it_is_and_however_full_the_disk(folder, store):
    cache = make(folder, max_bytes=0)
    fill(cache, store, "a-v1", "b-v1", "c-v1")
    assert cache.evict(lambda: {"a-v1", "b-v1", "not there", "x-v9"}) == ["c-v1"]
    assert names(cache) == ["a-v1", "b-v1"]
    assert cache.evict(lambda: {"b-v1"}) == ["a-v1"]


def test_what_another_process_holds_stays_until_it_lets_go(folder, store):
    other, own = make(folder, max_bytes=0), make(folder, max_bytes=0)
    other.fetch(record("a-v1"), store, verify)
    own.fetch(record("b-v1"), store, verify)
    assert own.evict(lambda: []) == ["b-v1"]
    assert names(own) == ["a-v1"]
    # A copy that it did not fetch itself, but lists, is held as well.
    fill(own, store, "c-v1")
    other.evict(lambda: ["a-v1", "c-v1"])
    assert own.evict(lambda: []) == []
    other.evict(lambda: ["a-v1"])
    assert names(own) == ["a-v1"]


def test_the_copies_of_a_process_that_died_can_go(folder, store):
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_cache as t
store = t.FakeStore()
store.objects = {store.objects!r}
t.make(Path({str(folder)!r})).fetch(t.record("a-v1"), store, t.verify)
print("held", flush=True)
sys.stdin.read()
"""
    cache = make(folder, max_bytes=0)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        assert cache.evict(lambda: []) == []
        process.send_signal(signal.SIGKILL)
    assert cache.evict(lambda: []) == ["a-v1"]


def test_what_the_server_has_just_let_go_stays_for_the_requests_that_wait(folder, store):
    cache = make(folder, max_bytes=0, grace_seconds=HOUR)
    fill(cache, store, "a-v1")
    assert cache.evict(lambda: []) == []
    assert cache.evict(lambda: []) == []
    assert names(cache) == ["a-v1"]


def test_a_copy_that_was_deleted_is_downloaded_again(folder, store):
    cache = make(folder, max_bytes=0)
    fill(cache, store, "a-v1")
    cache.evict(lambda: [])
    verify(cache.fetch(record("a-v1"), store, verify), record("a-v1"))
    assert (cache.downloads, cache.hits) == (2, 0)


def test_an_empty_cache_has_nothing(folder):
    cache = make(folder)
    assert cache.entries() == [] and cache.evict(lambda: ["a-v1"]) == []


def test_many_threads_that_fetch_and_evict_never_lose_what_is_in_use(folder, store):
    cache = make(folder, max_bytes=COPY_BYTES)
    in_use = set()

    def work(number):
        name = ["a-v1", "b-v1", "c-v1", "d-v1"][number]
        for _ in range(50):
            in_use.add(name)
            place = cache.fetch(record(name), store, verify)
            cache.evict(lambda: set(in_use))
            verify(place, record(name))
            in_use.discard(name)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result()
    cache.evict(lambda: [])
    assert len(names(cache)) == 1
    assert [path.name for path in folder.iterdir()] == names(cache)

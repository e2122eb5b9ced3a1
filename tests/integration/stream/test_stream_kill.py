"""Writers that are killed at any moment: whoever reads the stream gets every pair once, in order."""

import random
import threading
import time

import pytest

from lift_core.stack.processes import wait_until
from lift_core.stream import ShardReader, read_shard

SEGMENTS = 240
KILLS = 12
SEED = 7
LONGEST_LIFE_SECONDS = 0.12

# With `step` a writer also waits before each shard.
PROGRAM = """
from lift_core.records import JudgedPair, QAPair
from lift_core.registry import AdapterRegistry
from lift_core.settings import get_settings
from lift_core.store import ObjectStore
from lift_core.stream import ShardWriter

def work(talk, job, segments, mode="run"):
    job, segments, settings = int(job), int(segments), get_settings()
    registry, store = AdapterRegistry.from_settings(settings), ObjectStore.from_settings(settings)
    lease = registry.acquire(job, "generate", "writer")
    writer = ShardWriter(registry, store, lease, settings.work_bucket)
    first = writer.resume_at()
    while first < segments:
        if mode == "step":
            print("next", file=talk, flush=True)
            talk.readline()
        last = min(first + first % 3, segments - 1)
        writer.append(first, last, [
            JudgedPair(
                pair=QAPair(segment=segment, question=f"Q{segment}.{n}?", answer=f"attempt {lease.token}"),
                kept=True,
            )
            for segment in range(first, last + 1) for n in range(segment % 4)
        ])
        first = last + 1
    writer.complete()
"""


def expected(segments):
    """What a reader must see; some segments have no pair."""
    return [(segment, f"Q{segment}.{n}?") for segment in range(segments) for n in range(segment % 4)]


@pytest.fixture
def job_id(work):
    return work.claim().job_id


@pytest.fixture
def reading(registry, store, settings, job_id):
    """A reader beside the writers: what it saw, once the stream has ended."""
    seen, trouble = [], []
    given_up = threading.Event()

    def read():
        reader = ShardReader(
            registry,
            store,
            job_id,
            settings.work_bucket,
            idle_seconds=60,
            poll_seconds=0.02,
            writer_gone=given_up,
        )
        try:
            seen.extend(reader)
        except Exception as error:
            trouble.append(error)

    thread = threading.Thread(target=read)
    thread.start()

    def finish():
        thread.join(60)
        assert not thread.is_alive(), "the reader did not see the end of the stream"
        assert trouble == []
        return seen

    yield finish
    given_up.set()
    thread.join()


@pytest.fixture
def orphans(put_but_not_named, job_id):
    return lambda: put_but_not_named(job_id)


@pytest.mark.timeout(240)
def test_writers_killed_at_any_moment_leave_every_pair_once_and_in_order(
    registry, start, reading, job_id, orphans, connect, wait_for_blocked, sql
):
    chance = random.Random(SEED)
    # Where a kill would seldom fall by chance: after the object and before its row, and within the
    # transaction of the row. A lock stops the writer there.
    stops = {
        3: "SELECT 1 FROM leases FOR UPDATE",
        6: "LOCK TABLE shards IN SHARE MODE",
        9: "SELECT 1 FROM leases FOR UPDATE",
    }
    for number in range(KILLS):
        writer = start(job_id, SEGMENTS)
        there = len(registry.shards(job_id))
        writer.tell()
        if number in stops:
            assert wait_until(lambda there=there: len(registry.shards(job_id)) > there, 30)
            holder = connect()
            holder.cursor().execute(stops[number])
            wait_for_blocked(1)
            left = orphans()
            writer.kill()
            holder.rollback()
            assert left, "the writer had put no object when it was stopped"
        else:
            time.sleep(chance.uniform(0, LONGEST_LIFE_SECONDS))
            writer.kill()
    assert registry.stream_end(job_id) is None
    assert len(registry.shards(job_id)) > 0
    last = start(job_id, SEGMENTS)
    last.tell()
    assert last.end() == "done"

    seen = reading()
    assert [(pair.segment, pair.question) for pair in seen] == expected(SEGMENTS)
    end = registry.stream_end(job_id)
    shards = registry.shards(job_id)
    assert (end.state, end.shard_count, end.pair_count) == ("complete", len(shards), len(seen))
    assert [shard.number for shard in shards] == list(range(len(shards)))
    # Several attempts wrote, each under a token of its own, and what they lost is not in the stream.
    tokens = [token for (token,) in sql("SELECT token FROM shards ORDER BY number")]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) > 3
    assert orphans()


def test_a_writer_killed_before_the_end_is_written_leaves_only_the_end_to_do(
    registry, start, reading, job_id, connect, wait_for_blocked, sql
):
    segments, shards = 9, 6
    writer = start(job_id, segments, "step")
    for _ in range(shards):
        writer.tell()
        assert writer.hear() == "next"
    # It has its lease: beginning looks at the stream's end too.
    holder = connect()
    holder.cursor().execute("LOCK TABLE stream_ends IN SHARE MODE")
    writer.tell()
    wait_for_blocked(1)
    before = registry.shards(job_id)
    assert len(before) == shards
    assert before[-1].last_segment == segments - 1
    writer.kill()
    holder.rollback()
    assert registry.stream_end(job_id) is None
    second = start(job_id, segments)
    second.tell()
    assert second.end() == "done"
    assert registry.shards(job_id) == before
    assert [(pair.segment, pair.question) for pair in reading()] == expected(segments)


def test_an_orphan_that_goes_on_writing_is_refused_and_never_read(
    registry, store, settings, start, reading, job_id, orphans, sql
):
    segments = 12
    orphan, heir = start(job_id, segments, "step"), start(job_id, segments, "step")
    for writer, shards in ((orphan, 4), (heir, 2)):
        for _ in range(shards):
            writer.tell()
            assert writer.hear() == "next"
    # The orphan writes beside its heir, which has moved on.
    orphan.tell()
    said = orphan.end()
    assert said.startswith("FencedError")
    assert "was replaced by attempt 2" in said
    [stray] = orphans()
    assert "/000001/" in stray
    heir.tell()
    while (said := heir.hear()) == "next":
        heir.tell()
    assert said == "done"
    assert heir.end() == ""

    seen = reading()
    assert [(pair.segment, pair.question) for pair in seen] == expected(segments)
    tokens = [token for (token,) in sql("SELECT token FROM shards ORDER BY number")]
    assert tokens == sorted(tokens)
    assert set(tokens) == {1, 2}
    for shard in registry.shards(job_id):
        for pair in read_shard(store, settings.work_bucket, shard):
            assert pair.answer == f"attempt {int(shard.key.split('/')[-2])}"


def test_writers_at_once_leave_one_whole_stream(registry, start, reading, job_id):
    segments = 60
    writers = [start(job_id, segments) for _ in range(3)]
    for writer in writers:
        writer.tell()
    said = [writer.end() for writer in writers]
    # The last to begin ends well; whoever it replaced is told, unless it was done before.
    assert "done" in said
    assert all(words == "done" or words.startswith("FencedError") for words in said), said
    assert [(pair.segment, pair.question) for pair in reading()] == expected(segments)
    assert registry.stream_end(job_id).shard_count == len(registry.shards(job_id))

"""The stream: in order, resumable, whole or refused, and blind to what an orphan writes."""

import hashlib
import threading

import pytest

from lift_core.errors import FencedError, QualityError, StreamStalledError, TransientError
from lift_core.records import Coverage, JudgedPair, Lease, PairReport, QAPair, Shard
from lift_core.stream import ShardReader, ShardWriter, committed_judged, read_report


class MemoryManifest:
    """The manifest's rules without a database; the real one is tested against PostgreSQL."""

    def __init__(self):
        self.rows = []
        self.end = None
        self.token = 1
        self.waits = []

    def append_shard(self, lease, shard):
        if lease.token != self.token:
            raise FencedError("replaced")
        self.rows.append(shard)

    def shards(self, job_id, after=-1):
        return [row for row in self.rows if row.number > after]

    def end_stream(self, lease, end):
        if lease.token != self.token:
            raise FencedError("replaced")
        self.end = end

    def stream_end(self, job_id):
        return self.end

    def waiting_for(self, job_id, role):
        return self.waits.pop() if self.waits else None


class MemoryStore:
    def __init__(self):
        self.objects = {}

    def put_bytes(self, bucket, key, data, content_type="application/octet-stream"):
        self.objects[bucket, key] = data
        return "etag"

    def get_bytes(self, bucket, key):
        return self.objects[bucket, key]


@pytest.fixture
def manifest():
    return MemoryManifest()


@pytest.fixture
def store():
    return MemoryStore()


def lease(token=1):
    return Lease(job_id=1, role="generate", token=token)


def pairs(segment, count=2):
    return [
        JudgedPair(pair=QAPair(segment=segment, question=f"Q{segment}.{n}?", answer=f"A{n}"), kept=True)
        for n in range(count)
    ]


def rejected(segment, reason="form"):
    pair = QAPair(segment=segment, question="When?", answer="in\u2028a\x85note")
    return JudgedPair(pair=pair, kept=False, reason=reason, detail="two words")


def reader(manifest, store, **options):
    options = {"idle_seconds": 5.0, "poll_seconds": 0.01} | options
    return ShardReader(manifest, store, 1, "work", **options)


def test_pairs_come_in_document_order_while_they_are_written(manifest, store):
    writer = ShardWriter(manifest, store, lease(), "work")
    seen = []
    first_seen = threading.Event()

    def read():
        for pair in reader(manifest, store):
            seen.append(pair.question)
            first_seen.set()

    reading = threading.Thread(target=read)
    reading.start()
    writer.append(0, 1, pairs(0) + pairs(1))
    assert first_seen.wait(5), "nothing arrived before the stream was complete"
    writer.append(2, 2, pairs(2))
    writer.complete()
    reading.join(5)
    assert seen == ["Q0.0?", "Q0.1?", "Q1.0?", "Q1.1?", "Q2.0?", "Q2.1?"]


def test_rejected_pairs_are_committed_beside_the_kept_ones_and_never_trained_on(manifest, store):
    writer = ShardWriter(manifest, store, lease(), "work")
    first = [*pairs(0, 1), rejected(0, "ungrounded"), *pairs(1, 1)]
    assert writer.append(0, 1, first).pair_count == 2
    assert writer.append(2, 2, [rejected(2)]).pair_count == 0
    assert writer.complete().pair_count == 2
    assert list(committed_judged(manifest, store, 1, "work")) == [*first, rejected(2)]
    assert list(reader(manifest, store)) == [each.pair for each in first if each.kept]


def test_a_shard_of_an_earlier_version_is_read_as_kept_pairs(manifest, store):
    data = b"".join(each.pair.model_dump_json().encode() + b"\n" for each in pairs(0))
    store.put_bytes("work", "old", data)
    digest = hashlib.sha256(data).hexdigest()
    manifest.rows = [Shard(number=0, key="old", sha256=digest, first_segment=0, last_segment=0, pair_count=2)]
    assert list(committed_judged(manifest, store, 1, "work")) == pairs(0)


def test_the_report_is_the_one_that_the_end_names(manifest, store):
    report = PairReport(
        segments=1,
        pairs=2,
        kept=2,
        rejected={},
        kept_share=1.0,
        coverage=Coverage(segments=1.0, names=1.0, numbers=1.0),
    )
    orphan = ShardWriter(manifest, store, lease(1), "work")
    orphan.append(0, 0, pairs(0))
    assert read_report(manifest, store, 1, "work") is None
    manifest.token = 2
    ShardWriter(manifest, store, lease(2), "work").fail("too few", report)
    with pytest.raises(FencedError):
        orphan.complete(report.model_copy(update={"kept": 99}))
    assert read_report(manifest, store, 1, "work") == report


def test_a_second_attempt_goes_on_where_the_first_was_killed(manifest, store):
    ShardWriter(manifest, store, lease(1), "work").append(0, 3, pairs(3))
    manifest.token = 2
    second = ShardWriter(manifest, store, lease(2), "work")
    assert second.resume_at() == 4
    second.append(4, 4, pairs(4))
    second.complete()
    assert [p.segment for p in reader(manifest, store)] == [3, 3, 4, 4]


def test_what_a_replaced_attempt_writes_is_never_read(manifest, store):
    orphan = ShardWriter(manifest, store, lease(1), "work")
    manifest.token = 2
    with pytest.raises(FencedError):
        orphan.append(0, 0, pairs(0))
    second = ShardWriter(manifest, store, lease(2), "work")
    second.append(0, 0, pairs(7))
    second.complete()
    assert [p.segment for p in reader(manifest, store)] == [7, 7]


def test_a_stream_that_ended_as_failed_tells_why(manifest, store):
    writer = ShardWriter(manifest, store, lease(), "work")
    writer.append(0, 0, [])
    writer.fail("only 0 pairs were kept")
    with pytest.raises(QualityError, match="only 0 pairs were kept"):
        list(reader(manifest, store))


def test_a_silent_writer_is_given_up_after_the_idle_limit(manifest, store):
    with pytest.raises(StreamStalledError, match="LIFT_STREAM_IDLE_SECONDS"):
        list(reader(manifest, store, idle_seconds=0.05))


def test_a_writer_that_waits_for_a_service_is_waited_for(store):
    manifest = MemoryManifest()
    manifest.waits = ["vLLM does not answer"] * 3
    with pytest.raises(StreamStalledError):
        list(reader(manifest, store, idle_seconds=0.05))
    assert manifest.waits == []


def test_a_writer_that_is_gone_is_not_waited_for(manifest, store):
    gone = threading.Event()
    gone.set()
    with pytest.raises(StreamStalledError, match="stopped before the stream was complete"):
        list(reader(manifest, store, idle_seconds=60, writer_gone=gone))


def test_a_damaged_shard_is_refused(manifest, store):
    shard = ShardWriter(manifest, store, lease(), "work").append(0, 0, pairs(0))
    store.objects["work", shard.key] += b"\n"
    with pytest.raises(TransientError, match="damaged"):
        list(reader(manifest, store))


def test_an_end_that_announces_other_shards_is_refused(manifest, store):
    writer = ShardWriter(manifest, store, lease(), "work")
    writer.append(0, 0, pairs(0))
    writer.complete()
    manifest.end = manifest.end.model_copy(update={"checksum": "0" * 64})
    with pytest.raises(TransientError, match="does not match its end"):
        list(reader(manifest, store))

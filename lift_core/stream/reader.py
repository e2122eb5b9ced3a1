"""The reading side: the pairs of committed shards, in order, as they come."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

from pydantic import TypeAdapter

from lift_core.errors import QualityError, StreamStalledError, TransientError
from lift_core.records import JudgedPair, PairReport, QAPair, Shard, StreamEnd
from lift_core.stream.manifest import Manifest, ShardStore, checksum

# Shards of earlier versions hold kept pairs alone, without a verdict.
_LINE: TypeAdapter[JudgedPair | QAPair] = TypeAdapter(JudgedPair | QAPair)


def read_judged(store: ShardStore, bucket: str, shard: Shard) -> list[JudgedPair]:
    """The pairs of one committed shard with the gate's verdicts, rejected ones too.

    Raises:
        TransientError: the object is not the one that was committed.
    """
    data = store.get_bytes(bucket, shard.key)
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise TransientError(f"shard s3://{bucket}/{shard.key} is damaged: its sha256 is not the manifest's")
    # Not splitlines(): a pair may hold a line separator that JSON leaves as it is.
    lines = [_LINE.validate_json(line) for line in data.decode().split("\n") if line]
    return [line if isinstance(line, JudgedPair) else JudgedPair(pair=line, kept=True) for line in lines]


def read_shard(store: ShardStore, bucket: str, shard: Shard) -> list[QAPair]:
    """The kept pairs of one committed shard.

    Raises:
        TransientError: the object is not the one that was committed.
    """
    return [each.pair for each in read_judged(store, bucket, shard) if each.kept]


def committed_judged(manifest: Manifest, store: ShardStore, job_id: int, bucket: str) -> Iterator[JudgedPair]:
    """Every pair in the manifest so far, in document order, rejected ones too; does not wait for more.

    Raises:
        TransientError: an object is not the one that was committed.
    """
    for shard in manifest.shards(job_id):
        yield from read_judged(store, bucket, shard)


def read_report(manifest: Manifest, store: ShardStore, job_id: int, bucket: str) -> PairReport | None:
    """The report of a stream that has ended; None while it has not, and for streams without one."""
    end = manifest.stream_end(job_id)
    if end is None or end.report is None:
        return None
    return PairReport.model_validate_json(store.get_bytes(bucket, end.report))


class ShardReader:
    """Iterates over a job's kept pairs in document order and waits for those still to come.

    Every iteration starts at the first shard. It reads the manifest, not the bucket, so what an
    orphaned attempt writes is never seen.
    """

    def __init__(
        self,
        manifest: Manifest,
        store: ShardStore,
        job_id: int,
        bucket: str,
        *,
        idle_seconds: float,
        poll_seconds: float = 0.2,
        writer_gone: threading.Event | None = None,
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._job_id = job_id
        self._bucket = bucket
        self._idle_seconds = idle_seconds
        self._poll_seconds = poll_seconds
        self._writer_gone = writer_gone

    def __iter__(self) -> Iterator[QAPair]:
        """Yield pairs until the stream is complete.

        Raises:
            QualityError: the writer ended the stream as failed; the reason is the message.
            StreamStalledError: nothing came for ``idle_seconds``, and the writer does not wait for a service;
                or it is gone.
        """
        seen: list[Shard] = []
        last_news = time.monotonic()
        while True:
            # The order matters: an end that is there before the shards are listed covers them all.
            end = self._manifest.stream_end(self._job_id)
            gone = self._writer_gone is not None and self._writer_gone.is_set()
            fresh = self._manifest.shards(self._job_id, after=len(seen) - 1)
            for shard in fresh:
                seen.append(shard)
                yield from read_shard(self._store, self._bucket, shard)
            if fresh:
                last_news = time.monotonic()
            if end is not None:
                self._check_end(end, seen)
                return
            if gone:
                raise StreamStalledError("the generator stopped before the stream was complete")
            if time.monotonic() - last_news > self._idle_seconds:
                if self._manifest.waiting_for(self._job_id, "generate"):
                    # It will go on; how long it waits has a limit of its own.
                    last_news = time.monotonic()
                    continue
                raise StreamStalledError(
                    f"no pairs for {self._idle_seconds:.0f} s after shard {len(seen) - 1}: "
                    "the generator is gone or far too slow (LIFT_STREAM_IDLE_SECONDS)"
                )
            if not fresh:
                time.sleep(self._poll_seconds)

    def _check_end(self, end: StreamEnd, seen: list[Shard]) -> None:
        if end.state == "failed":
            raise QualityError(end.reason or "the generator ended the stream as failed")
        if len(seen) != end.shard_count or checksum(seen) != end.checksum:
            raise TransientError(
                f"the stream of job {self._job_id} does not match its end: {len(seen)} shards read, "
                f"{end.shard_count} announced"
            )

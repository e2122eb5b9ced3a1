"""The reading side: the pairs of committed shards, in order, as they come."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

from lift_core.errors import QualityError, StreamStalledError, TransientError
from lift_core.records import QAPair, Shard, StreamEnd
from lift_core.stream.manifest import Manifest, ShardStore, checksum


def read_shard(store: ShardStore, bucket: str, shard: Shard) -> list[QAPair]:
    """The pairs of one committed shard.

    Raises:
        TransientError: the object is not the one that was committed.
    """
    data = store.get_bytes(bucket, shard.key)
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise TransientError(f"shard s3://{bucket}/{shard.key} is damaged: its sha256 is not the manifest's")
    return [QAPair.model_validate_json(line) for line in data.decode().splitlines()]


class ShardReader:
    """Iterates over a job's pairs in document order and waits for those still to come.

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
            StreamStalledError: nothing came for ``idle_seconds``, or the writer is gone.
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

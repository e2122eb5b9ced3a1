"""The writing side: shard to the object store first, then its row, in document order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from lift_core.records import JudgedPair, Lease, PairReport, Shard, StreamEnd
from lift_core.store import layout
from lift_core.stream.manifest import Manifest, ShardStore, checksum


class ShardWriter:
    """Appends shards of one job under one lease. Killed at any moment, the next attempt goes on
    at ``resume_at``: an object without a row is not part of the stream.
    """

    def __init__(self, manifest: Manifest, store: ShardStore, lease: Lease, bucket: str) -> None:
        self._manifest = manifest
        self._store = store
        self._lease = lease
        self._bucket = bucket
        self._next = len(manifest.shards(lease.job_id))

    def resume_at(self) -> int:
        """Number of the first segment that no shard covers yet."""
        shards = self._manifest.shards(self._lease.job_id)
        return shards[-1].last_segment + 1 if shards else 0

    def append(self, first_segment: int, last_segment: int, judged: Sequence[JudgedPair]) -> Shard:
        """Commit the pairs of the segments ``first_segment``..``last_segment``, rejected ones too.

        Raises:
            FencedError: a newer attempt writes this stream; nothing was committed.
        """
        data = "".join(each.model_dump_json() + "\n" for each in judged).encode()
        key = layout.shard_key(self._lease.job_id, self._lease.token, self._next)
        shard = Shard(
            number=self._next,
            key=key,
            sha256=hashlib.sha256(data).hexdigest(),
            first_segment=first_segment,
            last_segment=last_segment,
            pair_count=sum(each.kept for each in judged),
        )
        self._store.put_bytes(self._bucket, key, data, content_type="application/jsonl")
        self._manifest.append_shard(self._lease, shard)
        self._next += 1
        return shard

    def complete(self, report: PairReport | None = None) -> StreamEnd:
        """Say that the stream is whole; its report is there before."""
        return self._end("complete", None, report)

    def fail(self, reason: str, report: PairReport | None = None) -> StreamEnd:
        """Say that the stream ends here, and why; whoever reads it gets that reason."""
        return self._end("failed", reason, report)

    def _end(
        self, state: Literal["complete", "failed"], reason: str | None, report: PairReport | None
    ) -> StreamEnd:
        shards = self._manifest.shards(self._lease.job_id)
        end = StreamEnd(
            state=state,
            shard_count=len(shards),
            pair_count=sum(shard.pair_count for shard in shards),
            checksum=checksum(shards),
            reason=reason,
            report=self._put_report(report) if report is not None else None,
        )
        self._manifest.end_stream(self._lease, end)
        return end

    def _put_report(self, report: PairReport) -> str:
        """Store the report where no other attempt does; it counts once the end's row names it."""
        key = layout.pair_report_key(self._lease.job_id, self._lease.token)
        data = report.model_dump_json(indent=1).encode()
        self._store.put_bytes(self._bucket, key, data, content_type="application/json")
        return key

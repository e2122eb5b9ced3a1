"""What the stream needs of the registry and of the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from lift_core.records import Lease, Shard, Stage, StreamEnd


class Manifest(Protocol):
    """The rows that say which shards exist. A shard without a row is not there."""

    def append_shard(self, lease: Lease, shard: Shard) -> None:
        """Add the next shard under a current token; FencedError under an old one."""

    def shards(self, job_id: int, after: int = -1) -> list[Shard]:
        """Shards with a number above ``after``, in order."""

    def end_stream(self, lease: Lease, end: StreamEnd) -> None:
        """Say that no shard will follow."""

    def stream_end(self, job_id: int) -> StreamEnd | None:
        """How the stream ended, or None while it has not."""

    def waiting_for(self, job_id: int, role: Stage) -> str | None:
        """What service an attempt of a role waits for; None where it works, or is gone."""


class ShardStore(Protocol):
    """The two calls of an object store that shards need."""

    def put_bytes(self, bucket: str, key: str, data: bytes, content_type: str = ...) -> str:
        """Put an object."""

    def get_bytes(self, bucket: str, key: str) -> bytes:
        """Get an object."""


def checksum(shards: Sequence[Shard]) -> str:
    """sha256 over the shards' sha256 in order."""
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()

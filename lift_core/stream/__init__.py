"""Pairs on their way from synthesis to training, and how far the training came: rows in Postgres, objects
in the object store."""

from lift_core.stream.checkpoints import StoredCheckpoints
from lift_core.stream.manifest import Manifest, ShardStore
from lift_core.stream.reader import ShardReader, committed_judged, read_judged, read_report, read_shard
from lift_core.stream.writer import ShardWriter

__all__ = [
    "Manifest",
    "ShardReader",
    "ShardStore",
    "ShardWriter",
    "StoredCheckpoints",
    "committed_judged",
    "read_judged",
    "read_report",
    "read_shard",
]

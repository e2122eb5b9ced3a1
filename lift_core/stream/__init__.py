"""Pairs on their way from synthesis to training: manifest in Postgres, shards in the object store."""

from lift_core.stream.manifest import Manifest, ShardStore
from lift_core.stream.reader import ShardReader, read_shard
from lift_core.stream.writer import ShardWriter

__all__ = ["Manifest", "ShardReader", "ShardStore", "ShardWriter", "read_shard"]

"""Where things lie in the work and adapters buckets. Keys that an attempt writes hold its token,
so that an orphaned attempt can never overwrite what a newer one wrote.
"""

from __future__ import annotations


def text_key(job_id: int) -> str:
    """Title and text of the document, as JSON."""
    return f"jobs/{job_id}/text.json"


def segments_key(job_id: int) -> str:
    """The segments, as one JSON list."""
    return f"jobs/{job_id}/segments.json"


def shard_key(job_id: int, token: int, number: int) -> str:
    """One shard of pairs, as JSON Lines."""
    return f"jobs/{job_id}/pairs/{token:06d}/{number:06d}.jsonl"


def candidate_prefix(job_id: int, token: int) -> str:
    """Folder of an adapter's files; immutable once registered."""
    return f"jobs/{job_id}/adapter/{token:06d}/"

"""Where things lie in the work and adapters buckets. Keys that an attempt writes hold its token,
so that an orphaned attempt can never overwrite what a newer one wrote.
"""

from __future__ import annotations

import hashlib
import re

_LONGEST_PART = 128


def learning_curve_key(job_id: int) -> str:
    """The picture of a job's training."""
    return f"jobs/{job_id}/learning_curve.svg"


def text_key(job_id: int) -> str:
    """Title and text of the document, as JSON."""
    return f"jobs/{job_id}/text.json"


def segments_key(job_id: int) -> str:
    """The segments, as one JSON list."""
    return f"jobs/{job_id}/segments.json"


def shard_key(job_id: int, token: int, number: int) -> str:
    """One shard of judged pairs, as JSON Lines."""
    return f"jobs/{job_id}/pairs/{token:06d}/{number:06d}.jsonl"


def pair_report_key(job_id: int, token: int) -> str:
    """The report about a job's pairs, as one attempt to generate them made it."""
    return f"jobs/{job_id}/pairs/{token:06d}/report.json"


def checkpoint_key(job_id: int, token: int, step: int) -> str:
    """A training's state after so many steps."""
    return f"jobs/{job_id}/checkpoints/{token:06d}/{step:09d}.safetensors"


def candidate_prefix(job_id: int, token: int) -> str:
    """Folder of an adapter's files; immutable once registered."""
    return f"jobs/{job_id}/adapter/{token:06d}/"


def evaluation_prefix(digest: str, adapter: str | None) -> str:
    """Folder of the results of one model (None: the base model) under the conditions of that digest."""
    return f"evaluations/{_part(digest[:16])}/{_part(adapter or 'base')}/"


def report_prefix(run: str, adapter: str) -> str:
    """Folder of what a run reports about an adapter: ``report.html``, ``report.md`` and plots."""
    return f"reports/{_part(run)}/{_part(adapter)}/"


def run_report_prefix(run: str) -> str:
    """Folder of the report about a whole run. No adapter has this name."""
    return report_prefix(run, "_run")


def _part(name: str) -> str:
    """A name from outside as one part of a key: it opens no folder and leaves none.

    One that had to be changed ends in a digest of what it was, so that no other name has the same part.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_LONGEST_PART].lstrip(".")
    if plain == name != "":
        return name
    return f"{plain}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"

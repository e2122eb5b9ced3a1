"""Slugs: what a document is called in runs, adapters and aliases."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

_MAX_LENGTH = 48


def slug_of(key: str) -> str:
    """A slug made of the key's file name: lower-case ASCII words joined by hyphens.

    It never ends in ``-v<number>``, which is how adapters are named.
    """
    stem = PurePosixPath(key).stem
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_LENGTH].strip("-") or "document"
    return f"{slug}-doc" if re.search(r"-v[0-9]+$", slug) else slug


def run_id_of(slug: str, version: int, recipe_digest: str, generation: int) -> str:
    """The run's id, readable: ``<slug>-v7-<first 8 of the recipe>-g1``."""
    return f"{slug}-v{version}-{recipe_digest[:8]}-g{generation}"

"""Profile ``cloze``: pairs without a model, for smoke tests and for measuring orchestration.

Deterministic, and no substitute for a generator: it asks for a word that it blanked.
"""

from __future__ import annotations

import re

from lift_core.records import Segment

_WORD = re.compile(r"\w[\w'-]{3,}")
_PAIRS = 3


def cloze_pairs(title: str, segment: Segment) -> list[tuple[str, str]]:
    """Up to three pairs: each blanks one of the segment's longest words."""
    words = sorted(set(_WORD.findall(segment.text)), key=lambda word: (-len(word), word))[:_PAIRS]
    pairs = []
    for word in words:
        blanked = re.sub(rf"\b{re.escape(word)}\b", "____", segment.text, count=1)
        pairs.append((f"In {title}, which word is missing: {' '.join(blanked.split())}?", word))
    return pairs

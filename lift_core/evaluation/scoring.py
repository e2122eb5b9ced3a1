"""Closed-book F1 over words, normalised as SQuAD 1.1's official script does (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = set(string.punctuation)


def normalise(text: str) -> list[str]:
    """Lower-case words without punctuation and articles."""
    bare = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return _ARTICLES.sub(" ", bare).split()


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best word-overlap F1 of a prediction over the accepted answers, 0 to 1."""
    return max((_f1(normalise(prediction), normalise(answer)) for answer in answers), default=0.0)


def _f1(prediction: list[str], answer: list[str]) -> float:
    if not prediction or not answer:
        return float(prediction == answer)
    common = sum((Counter(prediction) & Counter(answer)).values())
    return 2 * common / (len(prediction) + len(answer))

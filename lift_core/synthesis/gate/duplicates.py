"""Questions that were asked before: equal but for spelling, or near-duplicates by MinHash."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lift_core.synthesis.english import STOP_WORDS
from lift_core.synthesis.names import names_in
from lift_core.synthesis.numbers import numbers_stated
from lift_core.synthesis.words import plain, stem, words

if TYPE_CHECKING:
    from datasketch import MinHash

_PERMUTATIONS = 128
_MISSED = 0.01
"""Share of the duplicates at the very threshold that hashing may miss; of closer ones it misses less."""
_ASKED = re.compile(r"\b(?:who|whom|whose|when|where|why|which|what|how (?:many|much|long|old|far)|how)\b")


def normalised_question(question: str) -> str:
    """A question without case, accents, punctuation and extra blanks: equal ones are duplicates."""
    return plain(question)


class Questions:
    """The questions kept so far, and whether another is one of them.

    Near-duplicates: the Jaccard similarity of the two questions' stems without grammar is at least
    ``similarity``, and both ask for the same (who, when, how many), about the same numbers and names.
    Candidates come from MinHash with locality-sensitive hashing (Broder 1997; datasketch), so that the time
    of a look-up does not grow with the questions; the similarity of candidates is then computed exactly.
    With a ``similarity`` of 1 only equal questions are duplicates.
    """

    def __init__(self, similarity: float, kept: Iterable[str] = ()) -> None:
        self._similarity = similarity
        self._equal: set[str] = set()
        self._sets: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        if similarity < 1:
            # Here and not above: scipy, which it computes its bands with, takes a second to import.
            from datasketch import MinHash, MinHashLSH

            self._empty = MinHash(num_perm=_PERMUTATIONS)
            self._index = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(similarity))
        for question in kept:
            self.add(question)

    def twin(self, question: str) -> str | None:
        """The kept question (normalised) that this one repeats, or None."""
        normalised = normalised_question(question)
        if normalised in self._equal:
            return normalised
        if self._similarity >= 1:
            return None
        asked, marks = _content(question)
        for candidate in sorted(self._index.query(self._hashed(asked))):
            theirs, their_marks = self._sets[candidate]
            if marks == their_marks and _jaccard(asked, theirs) >= self._similarity:
                return str(candidate)
        return None

    def add(self, question: str) -> None:
        """Keep a question."""
        normalised = normalised_question(question)
        if normalised in self._equal:
            return
        self._equal.add(normalised)
        if self._similarity < 1:
            self._sets[normalised] = _content(question)
            self._index.insert(normalised, self._hashed(self._sets[normalised][0]))

    def _hashed(self, asked: frozenset[str]) -> MinHash:
        hashed = self._empty.copy()
        hashed.update_batch([word.encode() for word in sorted(asked)])
        return hashed


def _bands(similarity: float) -> tuple[int, int]:
    """Bands and rows a band: the longest bands that miss few enough. A needless candidate costs little."""
    for rows in range(_PERMUTATIONS, 1, -1):
        bands = _PERMUTATIONS // rows
        if (1 - similarity**rows) ** bands <= _MISSED:
            return bands, rows
    return _PERMUTATIONS, 1


def _content(question: str) -> tuple[frozenset[str], frozenset[str]]:
    """Its words' stems, and what must be equal: what is asked for, the numbers, the names."""
    found = words(question)
    asked = frozenset(stem(word) for word in found if word not in STOP_WORDS)
    marks = set(_ASKED.findall(" ".join(found))[:1]) | numbers_stated(question)
    for name in names_in(question):
        marks.update(stem(word) for word in words(name))
    return asked, frozenset(marks)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0

"""Which segments, names and numbers of a document its kept pairs touch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from lift_core.records import Coverage, QAPair, Segment
from lift_core.synthesis.names import names_in
from lift_core.synthesis.numbers import numbers_in, numbers_stated
from lift_core.synthesis.words import stem, words

__all__ = ["coverage_of", "names_in", "numbers_in", "untouched"]


def coverage_of(segments: Sequence[Segment], kept_pairs: Iterable[QAPair]) -> Coverage:
    """Shares of a document that kept pairs touch; 1 where there is nothing to touch.

    A segment is touched by a pair of its own. A name counts once for the document, whoever's pair has at
    least half of its words; a number counts for each segment that has it, since it means something only
    there, and must be in a pair of that segment.
    """
    pairs: dict[int, list[QAPair]] = defaultdict(list)
    for pair in kept_pairs:
        pairs[pair.segment].append(pair)
    told = {number: _Told(of_segment) for number, of_segment in pairs.items()}
    everything = _Told([pair for of_segment in pairs.values() for pair in of_segment])

    names = names_in("\n".join(segment.text for segment in segments))
    bare_names = tuple(name for name in names if not everything.has_name(name))
    numbers = [(segment.number, number) for segment in segments for number in numbers_in(segment.text)]
    bare_numbers = [n for at, n in numbers if at not in told or n not in told[at].numbers]
    bare_segments = tuple(segment.number for segment in segments if segment.number not in pairs)
    return Coverage(
        segments=_share(len(bare_segments), len(segments)),
        names=_share(len(bare_names), len(names)),
        numbers=_share(len(bare_numbers), len(numbers)),
        uncovered_segments=bare_segments,
        uncovered_names=bare_names,
        uncovered_numbers=tuple(dict.fromkeys(bare_numbers)),
    )


def untouched(segment_text: str, kept_pairs: Iterable[QAPair]) -> tuple[str, ...]:
    """Names, then numbers, of a segment that none of its kept pairs touches."""
    told = _Told(kept_pairs)
    names = tuple(name for name in names_in(segment_text) if not told.has_name(name))
    return names + tuple(number for number in numbers_in(segment_text) if number not in told.numbers)


class _Told:
    """What some pairs say, for looking names and numbers up."""

    def __init__(self, pairs: Iterable[QAPair]) -> None:
        text = " \n".join(f"{pair.question} {pair.answer}" for pair in pairs)
        self._stems = frozenset(map(stem, words(text)))
        self.numbers = numbers_stated(text)

    def has_name(self, name: str) -> bool:
        """Whether at least half of a name's words are said."""
        roots = list(map(stem, words(name)))
        return 2 * sum(root in self._stems for root in roots) >= len(roots)


def _share(bare: int, of: int) -> float:
    return 1 - bare / of if of else 1.0

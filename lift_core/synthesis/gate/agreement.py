"""Do two answers to the same question agree? Word overlap with rules for what it is blind to.

In this order:

1. Yes and no: where one of them begins so, the other must begin the same.
2. Numbers: both must have the same ones in whatever spelling. Only a date may leave parts of the other's out:
   "2017" agrees with "17 January 2017".
3. Names: where both have some, the words of the one's must all be among the other's: "Krell" agrees with "Odo
   Krell", "French" with "France", "Ilse Krell" does not.
4. Words: the F1 of their stems without articles and other grammar reaches the threshold, or all words of the
   one stand together in the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lift_core.synthesis.english import STOP_WORDS
from lift_core.synthesis.names import is_calendar_word, knows, scan
from lift_core.synthesis.numbers import is_number_word, numbers_in, numbers_stated
from lift_core.synthesis.words import stem, words

_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


class Comparison(NamedTuple):
    """``f1`` is the word F1 of the stems, 0 to 1; ``why`` says what differs where they do not agree."""

    agree: bool
    f1: float
    why: str = ""


def compare(written: str, read: str, threshold: float) -> Comparison:
    """Compare the generator's answer with the reader's."""
    one, other = words(written), words(read)
    f1 = _f1(_stems(one), _stems(other))
    if not one or not other:
        return Comparison(False, f1, "one of them is empty")
    yes_no = _YES_NO.get(one[0]), _YES_NO.get(other[0])
    if yes_no[0] != yes_no[1]:
        return Comparison(False, f1, "yes and no differ")
    if yes_no[0]:
        return Comparison(True, max(f1, threshold))
    if not _numbers_agree(written, read):
        return Comparison(False, f1, "the numbers differ")
    if numbers_in(written) and not _words_besides(one) and not _words_besides(other):
        return Comparison(True, 1.0)
    if not _names_agree(written, read):
        return Comparison(False, f1, "the names differ")
    if f1 >= threshold or _contained(one, other) or _contained(other, one):
        return Comparison(True, f1)
    return Comparison(False, f1, f"their words overlap by {f1:.2f}")


def _numbers_agree(written: str, read: str) -> bool:
    mine, theirs = set(numbers_in(written)), set(numbers_in(read))
    if mine == theirs or (mine <= numbers_stated(read) and theirs <= numbers_stated(written)):
        return True
    fuller = written if mine > theirs else read
    dated = any(is_calendar_word(word) for word in words(fuller))
    return dated and bool(mine and theirs) and (mine < theirs or theirs < mine)


def _names_agree(written: str, read: str) -> bool:
    mine, theirs = _name_words(written), _name_words(read)
    if not mine or not theirs:
        return True
    fewer, more = sorted((mine, theirs), key=len)
    known = set(map(stem, words(written if more is mine else read)))
    return all(knows(word, known, "") for word in fewer)


def _name_words(answer: str) -> set[str]:
    """Words of the names; an answer's first word is one only where the name goes on after it."""
    names = list(scan(answer))
    return {word for name in names if not name.opens_sentence or len(name.words) > 1 for word in name.words}


def _words_besides(found: Sequence[str]) -> list[str]:
    return [word for word in found if word not in STOP_WORDS and not is_number_word(word)]


def _stems(found: Sequence[str]) -> list[str]:
    content = [stem(word) for word in found if word not in STOP_WORDS]
    return content or list(map(stem, found))


def _contained(one: Sequence[str], other: Sequence[str]) -> bool:
    needle, hay = _stems(one), _stems(other)
    return any(hay[at : at + len(needle)] == needle for at in range(len(hay) - len(needle) + 1))


def _f1(one: Sequence[str], other: Sequence[str]) -> float:
    common = sum((Counter(one) & Counter(other)).values())
    return 2 * common / (len(one) + len(other)) if common else 0.0

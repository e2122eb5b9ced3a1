"""Numbers of a text in one spelling, however they are written: 1,200, 1200, twelve hundred."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise

from lift_core.synthesis.words import words


def _counted(listed: str, start: int, step: int = 1) -> dict[str, int]:
    return {word: start + step * index for index, word in enumerate(listed.split())}


_ONES = _counted(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen",
    start=1,
)
_TENS = _counted("twenty thirty forty fifty sixty seventy eighty ninety", start=20, step=10)
_ORDINALS = _counted(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
    " fifteenth sixteenth seventeenth eighteenth nineteenth",
    start=1,
) | {tens[:-1] + "ieth": value for tens, value in _TENS.items()}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT_SCALES = {"k": 1000, "m": 10**6, "mn": 10**6, "bn": 10**9, "tn": 10**12}
_ALSO = {
    "dozen": "12", "couple": "2", "pair": "2", "both": "2", "twice": "2", "double": "2", "twins": "2",
    "thrice": "3", "triple": "3", "zero": "0", "once": "1", "single": "1",
}  # fmt: skip
_LOOSE = frozenset({"one", "first", "second"})
"""Number words that mostly are none: one of them, first of all, a second."""
_ROMAN = re.compile(r"\b(?=[IVX]{2,}\b|[VX]\b)X{0,3}(?:IX|IV|V?I{0,3})\b")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}


def numbers_in(text: str) -> tuple[str, ...]:
    """The numbers that a text claims, in order, each once, in digits: ``("12", "3500000")``.

    Ordinals and number words count, "one", "first" and "second" alone do not: they are mostly no numbers.
    """
    return tuple(dict.fromkeys(value for value, loose in _read(words(text)) if not loose))


def numbers_stated(text: str) -> frozenset[str]:
    """All numbers that a text can be said to state, a superset of ``numbers_in``.

    Also one, first, both and a dozen, Roman numerals, parts of dotted dates, and 3.5 beside 3.5 million.
    """
    found = words(text)
    stated = {value for value, _ in _read(found)}
    stated.update(word for word in found if word[0].isdigit())
    stated.update(_ALSO[word] for word in found if word in _ALSO)
    stated.update(_roman(numeral) for numeral in _ROMAN.findall(text))
    for word, after in pairwise(found):
        if after in _SHORT_SCALES and (value := _decimal(word)) is not None:
            stated.add(_digits(value * _SHORT_SCALES[after]))
    for word in found:
        if word[0].isdigit() and word.count(".") > 1:
            stated.update(part.lstrip("0") for part in word.split("."))
    return frozenset(stated)


def is_number_word(word: str) -> bool:
    """Whether a folded word spells a number or a part of one: twelve, third, million, 1200."""
    return word[0].isdigit() or word in _ONES or word in _TENS or word in _ORDINALS or word in _SCALES


def _read(found: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Every number with whether it is a loose one."""
    position = 0
    while position < len(found):
        word = found[position]
        if word[0].isdigit():
            value = _decimal(word)
            position += 1
            if value is None:
                yield word, False
                continue
            while position < len(found) and found[position] in _SCALES:
                value *= _SCALES[found[position]]
                position += 1
            yield _digits(value), False
        elif word in _ONES or word in _TENS or word in _ORDINALS:
            spelled, end = _spelled(found, position)
            yield str(spelled), end == position + 1 and word in _LOOSE
            position = end
        else:
            position += 1


def _spelled(found: Sequence[str], start: int) -> tuple[int, int]:
    """The value of a number written in words, and the position after it: two hundred and fifty-one."""
    total = group = 0
    last = 1000  # what may follow must be smaller: twenty one, but not one twenty
    position = start
    while position < len(found):
        word = found[position]
        if word in _SCALES and position > start:
            scale = _SCALES[word]
            total, group = (total, group * scale) if scale == 100 else (total + group * scale, 0)
            last = scale
        elif word == "and" and last >= 100 and position > start and _below_hundred(found, position + 1):
            pass
        elif word in _ORDINALS and _ORDINALS[word] < last:
            return total + group + _ORDINALS[word], position + 1
        elif (value := _ONES.get(word) or _TENS.get(word)) and (value < 10 < last or last >= 100):
            group += value
            last = value if value >= 20 else 1
        else:
            break
        position += 1
    return total + group, position


def _below_hundred(found: Sequence[str], position: int) -> bool:
    return position < len(found) and (
        found[position] in _ONES or found[position] in _TENS or found[position] in _ORDINALS
    )


def _decimal(word: str) -> Decimal | None:
    try:
        return Decimal(word)
    except InvalidOperation:
        return None


def _digits(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text and not text.split(".")[1].strip("0") else text


def _roman(numeral: str) -> str:
    values = [_ROMAN_VALUES[letter] for letter in numeral]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return str(sum(-value if value < after else value for value, after in pairs))

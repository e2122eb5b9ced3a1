"""Questions and answers in other words: a wrong number or name, the same question, a dangling one."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache

# --- numbers ---------------------------------------------------------------------------------

_WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_TEENS = ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
_ORDINALS = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_VALUES = {word: str(value) for value, word in enumerate([*_WORDS, *_TEENS], start=2)}
_ORDINAL_VALUES = {word: str(value) for value, word in enumerate(_ORDINALS, start=2)}
_DIGITS = re.compile(r"(?<![\w.,/-])\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.,/-])\d+(?:\.\d+)?")
_NUMBER = re.compile(
    rf"(?:{_DIGITS.pattern})(?:st|nd|rd|th)?(?![\w/-]|[.,]\d)|\b(?:{'|'.join(_WORDS)})\b(?!-)", re.I
)
_ORDINAL_END = re.compile(r"(st|nd|rd|th)$")
_FIRST_YEAR, _LAST_YEAR = 1000, 2100


def number_values(text: str) -> set[str]:
    """All numbers that a text says, however it writes them: as digits without thousands separators."""
    found = {each.replace(",", "") for each in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)}
    spoken = {**_VALUES, **_ORDINAL_VALUES}
    return found | {spoken[word] for word in re.findall(r"[a-z]+", text.lower()) if word in spoken}


def change_number(text: str, known: str, dice: random.Random) -> str | None:
    """The text with one of its numbers replaced by a near one that is nowhere in ``known``; None without.

    A year becomes another year, digits stay digits, a word stays a word.
    """
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    number = dice.choice(numbers)
    taken = number_values(known)
    near = [each for each in _near(number.group()) if number_values(each).isdisjoint(taken)]
    if not near:
        return None
    return text[: number.start()] + dice.choice(near) + text[number.end() :]


def _near(number: str) -> list[str]:
    if (word := number.lower()) in _WORDS:
        other = [each for each in _WORDS if each != word]
        return [each.capitalize() for each in other] if number[0].isupper() else other
    ending = _ORDINAL_END.search(number)
    digits = _ORDINAL_END.sub("", number)
    places = len(digits.partition(".")[2])
    unit = 10**places
    value = round(float(digits.replace(",", "")) * unit)
    if not places and "," not in digits and _FIRST_YEAR <= value <= _LAST_YEAR:
        steps = [*range(-30, -1), *range(2, 31)]
    else:
        # As many figures as before, and as many zeros at the end: 30,000 becomes 40,000, not 30,017.
        grain = 10 ** min(len(str(value)) - 1, len(str(value)) - len(str(value).rstrip("0")))
        steps = [step * grain for step in range(-9, 10) if step]
    found = []
    for step in steps:
        other = value + step
        if other > 0 and len(str(other)) == len(str(value)):
            written = f"{other / unit:,.{places}f}" if "," in digits else f"{other / unit:.{places}f}"
            found.append(written + (_ordinal_end(other) if ending else ""))
    return found


def _ordinal_end(value: int) -> str:
    if value % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")


# --- names -----------------------------------------------------------------------------------

_NAME = re.compile(
    r"[A-Z][\w’'-]*[a-z0-9]\w*(?:(?: (?:of|de|von|van|la))? [A-Z][\w’'-]*\w)*|[A-Z][A-Z0-9-]+\b"
)
_INSIDE_SENTENCE = re.compile(r"[a-z,;] $")
_NO_NAMES = """
    I A An The This That He She It They We You Who What When Where Why Which How In On At If As For But
    And Or Not Mr Mrs Dr St January February March April May June July August September October November
    December Monday Tuesday Wednesday Thursday Friday Saturday Sunday Figure Table Section Article God
    Lord
"""
_NO_NAME = frozenset(_NO_NAMES.split())
_PLACE_BEFORE = re.compile(r"\b(in|at|from|near|to|into|towards) (the )?$")


@lru_cache(maxsize=64)
def names_of(text: str) -> dict[str, str]:
    """Names that a text has inside its sentences, each with its kind: ``place`` or ``other``."""
    flat = " ".join(text.split())
    kinds: dict[str, Counter[str]] = {}
    for found in _NAME.finditer(flat):
        before = flat[max(0, found.start() - 20) : found.start()]
        name = re.sub(r"[’']s$", "", found.group())
        if _INSIDE_SENTENCE.search(before) and name.split()[0] not in _NO_NAME and re.match(r"\w\w\w", name):
            kind = "place" if _PLACE_BEFORE.search(before) else "other"
            kinds.setdefault(name, Counter())[kind] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in kinds.items()}


def swap_name(
    text: str, others: Sequence[str], said: str, kinds: dict[str, str], dice: random.Random
) -> str | None:
    """The text with one of its names replaced by one of ``others`` of the same kind; None where none fits.

    ``kinds`` are the document's names. What takes the name's place shares no word with it, nor with what is
    ``said`` in question and answers, and is of the same make: capitals for capitals.
    """
    names = [found for found in _NAME.finditer(text) if re.sub(r"[’']s$", "", found.group()) in kinds]
    if not names:
        return None
    found = dice.choice(names)
    name = re.sub(r"[’']s$", "", found.group())
    words = {each.lower() for each in re.findall(r"\w+", said + " " + name)}
    fitting = [
        other
        for other in others
        if kinds[other] == kinds[name]
        and other.isupper() == name.isupper()
        and (len(other.split()) > 1) == (len(name.split()) > 1)
        and not any(_akin(each, word) for each in re.findall(r"\w+", other.lower()) for word in words)
    ]
    if not fitting:
        return None
    end = found.start() + len(name)
    return text[: found.start()] + dice.choice(fitting) + text[end:]


def _akin(one: str, other: str) -> bool:
    """Whether two words are forms of each other, as Norman and Normandy, or abbreviations."""
    return len(min(one, other, key=len)) > 1 and (one[:5] == other[:5] or one in other or other in one)


# --- the same question in other words -----------------------------------------------------------

_SAME: dict[str, tuple[str, ...]] = {
    r"^Who was (?!the\b)(.+)\?$": (r"Which person was \1?", r"Who exactly was \1?"),
    r"^Who (\w+ed|wrote|led|built|won|made|gave|said|took|saw) (.+)\?$": (
        r"Which person \1 \2?",
        r"Who was it that \1 \2?",
        r"What is the name of the one who \1 \2?",
    ),
    r"^When (did|was|were|is) (.+)\?$": (r"At what time \1 \2?", r"At which point in time \1 \2?"),
    r"^In what year (.+)\?$": (r"In which year \1?", r"What was the year in which \1?"),
    r"^How many (.+)\?$": (r"What number of \1?", r"Exactly how many \1?"),
    r"^Why (.+)\?$": (r"For what reason \1?", r"For which reason \1?"),
    r"^Where (did|was|were|is|are|do|does) (.+)\?$": (r"In what place \1 \2?", r"At which place \1 \2?"),
    r"^What (?:type|kind|sort) of (.+)\?$": (r"Which kind of \1?", r"Which sort of \1?"),
    r"^What (is|was) the name of (.+)\?$": (r"What \1 \2 called?", r"By what name \1 \2 known?"),
    r"^What (country|city|company|state|year|language|group|person|area|region|disease|virus) (.+)\?$": (
        r"Which \1 \2?",
        r"Name the \1: which one \2?",
    ),
    r"^What ((?:did|does|do|can|could|will|is|are|was|were|has|had|happened|made|\w+ed) .+)\?$": (
        r"What exactly \1?",
        r"Precisely what \1?",
    ),
    r"^(.+) (in|during|after|before|since|by) ((?:the )?[^?]*\d[^?]*)\?$": (r"\2 \3, \1?",),
}
"""By the form of a question, other ways to ask it."""


def reword(question: str, answer: str, dice: random.Random) -> str | None:
    """The same question in other words; None where no rule fits, or where a rule would say the answer."""
    found = []
    for pattern, ways in _SAME.items():
        match = re.match(pattern, question)
        if match:
            found += [match.expand(way) for way in ways]
    found = [_sentence(each) for each in found]
    found = [each for each in found if each != question and answer.lower() not in each.lower()]
    return dice.choice(found) if found else None


def _sentence(text: str) -> str:
    """A question with one capital at its beginning: not that of a word that began it before."""
    start = re.sub(
        r"(?<=, )(Who|What|When|Where|Why|Which|How|In)\b", lambda found: found.group().lower(), text
    )
    return start[0].upper() + start[1:]


# --- questions that need a text beside them ---------------------------------------------------------

_POINTING = (
    "According to the passage, {question}",
    "According to the text, {question}",
    "In the above paragraph, {question}",
    "{stem} in this sentence?",
    "{stem}, as stated above?",
    "{stem} in the given context?",
)
_SUBJECT = re.compile(
    r"\b(did|does|do|was|were|is|are|has|had|will|would|could|can) "
    r"((?:the |Mr\.? |Mrs\.? |King |Queen |Prince |Princess )?"
    r"[A-Z][\w’'-]*(?: (?:of )?[A-Z][\w’'-]*)*)(?= [a-z])"
)


def bind_to_context(question: str, dice: random.Random) -> str | None:
    """The question so that it needs a text beside it: it says "he" for its only name, or points at a text.

    None, most of the time, for a question whose only name cannot be taken away: others can be pointed too,
    and those that lose their name are rarer.
    """
    bound = _with_pronoun(question, dice)
    if bound and dice.random() < 0.8:
        return bound
    if dice.random() < 0.8:
        return None
    lowered = question[0].lower() + question[1:] if _begins_lower(question) else question
    return dice.choice(_POINTING).format(question=lowered, stem=question.rstrip("?"))


def _with_pronoun(question: str, dice: random.Random) -> str | None:
    subject = _SUBJECT.search(question)
    if not subject:
        return None
    plural = subject.group(1) in ("were", "are", "do")
    pronoun = "they" if plural else dice.choice(("he", "she", "it"))
    before, after = question[: subject.start(2)], question[subject.end(2) :]
    return None if _names_and_numbers(before + after) else before + pronoun + after


def _begins_lower(question: str) -> bool:
    return question.split()[0] in _NO_NAME or not _NAME.match(question)


def _names_and_numbers(text: str) -> Collection[str]:
    return [each for each in re.findall(r"\w*[A-Z]\w*|\d+", text[1:]) if each not in _NO_NAME]

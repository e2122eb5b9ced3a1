"""Does the source state what a pair says? By its words, names and numbers, without a model.

What this cannot see is left to the round trip: a wrong fact made of the source's own words.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from lift_core.synthesis.english import ASKING_WORDS, STOP_WORDS
from lift_core.synthesis.names import (
    capitals_tell,
    in_order,
    initials_of,
    is_acronym,
    knows,
    scan,
)
from lift_core.synthesis.numbers import is_number_word, numbers_in, numbers_stated
from lift_core.synthesis.words import content_words, plain, stem, words

_FEW_WORDS = 4
"""A shorter answer is a name or a term, every word of which must be stated."""
_STATED_SHARE = 0.75
"""Of a longer answer's words; a clause may bring a word of its own."""
_MISSING_SHARE = 0.66
"""Of a question's subject words; from this on, the question is about something else."""
_MISSING_WORDS = 2
"""One word may be the asker's own."""
_ENGLISH_SHARE = 0.15
"""Of English grammar among a text's words; English has about 0.45, German and French below 0.1."""
_ASKING = frozenset(map(stem, ASKING_WORDS))


class Source:
    """What a segment's pairs are held against: the segment with what precedes it, and the title."""

    def __init__(self, text: str, title: str) -> None:
        self.text = text
        self.title = title
        self.words = words(text)
        self.plain = f" {' '.join(self.words)} "
        self.stems = [stem(word) for word in self.words]
        self.known = frozenset(self.stems)
        self.title_stems = frozenset(map(stem, words(title)))
        self.known_with_title = self.known | self.title_stems

    @cached_property
    def english(self) -> bool:
        """Whether the text is in English, whose words for he, when and how many are known here."""
        grammar = sum(word in STOP_WORDS for word in self.words)
        return grammar >= _ENGLISH_SHARE * len(self.words)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Every number that the text can be said to state."""
        return numbers_stated(self.text)

    @cached_property
    def numbers_with_title(self) -> frozenset[str]:
        """Those of text and title."""
        return self.numbers | numbers_stated(self.title)

    @cached_property
    def initials(self) -> str:
        """The words' first letters, for acronyms."""
        return f"{initials_of(self.words)} {initials_of(words(self.title))}"

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """The first five letters of the longer stems."""
        return frozenset(root[:5] for root in self.known if len(root) >= 5)

    @cached_property
    def capitals_tell(self) -> bool:
        """Whether capitals mark names in this text."""
        return capitals_tell(self.text)

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """Where each stem stands."""
        found: dict[str, list[int]] = defaultdict(list)
        for position, root in enumerate(self.stems):
            found[root].append(position)
        return dict(found)


def ungrounded(answer: str, source: Source) -> str | None:
    """What of an answer the source does not state, or None.

    An answer that stands in the source word for word is grounded. Otherwise each of its numbers must be
    stated, each of its names must stand together, and so must its words but for inflection: all of them up
    to four, three quarters of more.
    """
    if f" {plain(answer)} " in source.plain:
        return None
    for number in numbers_in(answer):
        if number not in source.numbers:
            return f"the number {number} is not in the source"
    for name in scan(answer) if source.capitals_tell else ():
        roots = tuple(map(stem, name.words))
        if len(roots) > 1 and not in_order(roots, source.positions):
            missing = [w for w in name.words if not knows(w, source.known, source.initials)]
            if missing or not name.opens_sentence:
                return f"the name '{name.text}' is not in the source"
    told = [word for word in content_words(answer) if not is_number_word(word)]
    acronyms = {plain(word) for word in answer.split() if is_acronym(word)}
    missing = [w for w in told if not knows(w, source.known, source.initials if w in acronyms else "")]
    allowed = 0 if len(told) <= _FEW_WORDS else (1 - _STATED_SHARE) * len(told)
    if len(missing) > allowed:
        return f"the source does not have {_quoted(missing)}"
    return None


def invented(question: str, source: Source) -> str | None:
    """A number or name of a question that stands neither in the source nor in the title, or None.

    "Two" in words counts what the source may list without counting: it is not asked for.
    """
    for number in numbers_in(question):
        spelled = number == "2" and "2" not in question
        if number not in source.numbers_with_title and not spelled:
            return f"the number {number} is neither in the source nor in the title"
    for name in scan(question) if source.capitals_tell else ():
        for index, word in enumerate(name.words):
            if (index == 0 and name.opens_sentence) or is_number_word(word) or len(word) == 1:
                continue
            if not knows(word, source.known_with_title, source.initials if is_acronym(name.text) else ""):
                return f"'{name.text}' is neither in the source nor in the title"
    return None


def unrelated(question: str, source: Source) -> str | None:
    """The words of a question's subject, where no more than a third of them stand in the source.

    Words of the title are left out: they are in every question of the document. So are those that questions
    are made of. Related words ("coast", "coastline") count by their first five letters.
    """
    subject = [root for root in subject_words(question) if root not in source.title_stems]
    missing = [root for root in subject if root not in source.known and root[:5] not in source.beginnings]
    if len(missing) >= _MISSING_WORDS and len(missing) >= _MISSING_SHARE * len(subject):
        return f"the source has nothing of {_quoted(missing)}"
    return None


def subject_words(question: str) -> list[str]:
    """Stems of the words that say what a question is about."""
    roots = map(stem, content_words(question))
    return [root for root in dict.fromkeys(roots) if root not in _ASKING and not is_number_word(root)]


def _quoted(found: list[str]) -> str:
    return ", ".join(f"'{word}'" for word in found)

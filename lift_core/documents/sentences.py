"""Prose to sentences: pysbd's rules for the language, then what real documents showed to be missing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pysbd

_CHUNK = 2000
"""Characters that pysbd sees at once: its time grows faster than its text."""
_MAX_STOPS = _CHUNK // 10
"""A piece with more marks than that is no prose, and pysbd would take many times as long over it."""
_CLOSERS = r"['\"”’»)\]*_]*"
_UPPER = r"[\"“‘'(«„¿¡]?[^\W\d_a-zß-ÿ]"
_CLAUSE = r"(?:\d{1,2}(?:\.\d{1,2})+\.?|(?:Article|ARTICLE|Section|SECTION)\s+[\dIVX]+\b)"
_NOTE = r"\[(?:[\d,;\s–-]+|[a-z]+ [^\[\]\n]{1,40})\]"
"""A reference "[12]" or a remark "[citation needed]"."""
_ANY_STOP = re.compile(r"[.!?…。！？।؟።။]")
_STOP = re.compile(rf"[.!?…。！？।؟።။]\s?{_CLOSERS}(\s*{_NOTE}|\s\*{{1,3}}|<[^<>]{{1,20}}>)*$")
_PAUSE = re.compile(rf"[;:]\s?{_CLOSERS}(\s+(and|or))?$")
_AFTERWARDS = re.compile(rf"[ \t]*({_NOTE})+(?=\s|$)")
_MORE = re.compile(
    # Before the number of a clause.
    rf"[.!?;:]{_CLOSERS}\s+(?={_CLAUSE}\s+{_UPPER})"
    # At a gap that was the end of a paragraph before somebody took the line breaks away.
    rf"|[.!?;:]{_CLOSERS}(?:\s+(?:and|or))?\s{{3,}}(?={_UPPER}|\([a-z\d]{{1,4}}\)\s)"
    # Behind a quotation: after two spaces, or a French one.
    rf"|[.!?][\"”’']\s{{2,}}(?=[^\W\d_a-zß-ÿ]\w)|[.!?]\s?»\s+(?={_UPPER})"
)
"""Ends of sentences that pysbd does not see."""
_ABBREVIATED = {
    "number": "no nos nr art arts sec secs abs fig figs eq eqs vol vols p pp ch chap para paras cl ref refs "
    "tab app approx ca num rs",
    "name": "mr mrs ms dr prof st sr sra srta dra ing lic hon dept univ mt cf op gen col sgt capt lt rev mme "
    "v vs al spp ae",
}
"""Abbreviations in front of a number, and in front of a name, after which no sentence ends."""
_BEFORE = {what: frozenset(words.split()) for what, words in _ABBREVIATED.items()}
_COMPANY = re.compile(r"(Ltd|Inc|Corp|LLC|Co|Plc|GmbH)\b")
_LAST_WORD = re.compile(r"(\w+)\.$")
_ENUMERATOR = re.compile(r"[\W_]*(\w{1,3}[.)]|\(\w{1,4}\))?[\W_]*")
_CLAUSE_TITLE = re.compile(rf"{_CLAUSE}\s+(.+?)[.:]$", re.S)
_TITLE_WORDS = 10
_QUOTE_MARK = re.compile(r"^[ \t]*(>[ \t]?)+", re.M)


class Splitter:
    """Finds sentences in prose of one language (a code of ISO 639-1 that pysbd knows)."""

    def __init__(self, language: str) -> None:
        self._segmenter = pysbd.Segmenter(language=language, clean=False)

    def split(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """Offsets of the sentences between two offsets of ``text``.

        Takes time in proportion to their length: pysbd gets a bounded piece at a time, and what it calls
        the last sentence of one is seen again at the beginning of the next.
        """
        prose = _QUOTE_MARK.sub(lambda mark: " " * len(mark.group()), text[start:end])
        pauses = {found.end() for found in _MORE.finditer(prose)}
        marks = set(pauses)
        position = 0
        while position < len(prose):
            chunk = prose[position : position + _CHUNK]
            ends = self._ends(chunk)
            rest = position + len(chunk) < len(prose)
            ends = ends[:-1] if rest and len(ends) > 1 else ends
            marks.update(position + each for each in ends)
            position += ends[-1] if ends else len(chunk)
        spans = itertools.pairwise([0, *_kept(prose, sorted(marks), pauses), len(prose)])
        found = (trimmed(text, start + s, start + e) for s, e in spans)
        return [(s, e) for s, e in found if e > s]

    def _ends(self, chunk: str) -> list[int]:
        """Where pysbd ends sentences. It is given single spaces, and its characters are counted off."""
        last = len(chunk.rstrip())
        if not _ANY_STOP.search(chunk, 0, max(0, last - 1)):
            return [last] if last else []
        words = list(re.finditer(r"\S+", chunk))
        if sum(1 for _ in _ANY_STOP.finditer(chunk)) > _MAX_STOPS:
            return _plain_ends(chunk)
        ends: list[int] = []
        # Position in the chunk of the end of each character that is not white space.
        places = [place for word in words for place in range(word.start() + 1, word.end() + 1)]
        seen = 0
        for sentence in self._segmenter.segment(" ".join(word.group() for word in words)):
            seen += sum(not c.isspace() for c in sentence)
            if seen > len(places):
                break
            if seen and (not ends or places[seen - 1] > ends[-1]):
                ends.append(places[seen - 1])
        # Where pysbd rewrote characters, the count is wrong.
        return ends if seen == len(places) else _plain_ends(chunk)


def _plain_ends(chunk: str) -> list[int]:
    """Where the plainest rule ends sentences."""
    ends = [found.end() for found in re.finditer(rf"[.!?。！？]{_CLOSERS}(?=\s+{_UPPER})", chunk)]
    return [*ends, len(chunk.rstrip())]


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Two offsets moved towards each other past white space."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def ends_sentence(text: str) -> bool:
    """Whether a text stops where a sentence ends."""
    return bool(_STOP.search(text[-80:].rstrip()))


def is_clause_title(sentence: str) -> bool:
    """Whether this only names a clause, as "3.5 Risk of Loss." does."""
    found = _CLAUSE_TITLE.match(sentence)
    words = found.group(1).split() if found else []
    large = [word for word in words if len(word) > 4]
    return (
        0 < len(words) <= _TITLE_WORDS and all(word[0].isupper() for word in large) and words[0][0].isupper()
    )


def _kept(prose: str, marks: list[int], pauses: set[int]) -> Iterator[int]:
    """The marks that are ends of sentences; at ``pauses`` a semicolon or a colon may be one."""
    begin = 0
    for mark in marks:
        if mark <= begin:
            continue
        # What is noted after the full stop belongs to what it is about.
        note = _AFTERWARDS.match(prose, mark)
        end = note.end() if note else mark
        left, right = prose[max(begin, end - 200) : end].rstrip(), prose[end : end + 80].lstrip()
        if right and _ends_between(left, right, pause=mark in pauses):
            yield end
            begin = end


def _ends_between(left: str, right: str, *, pause: bool) -> bool:
    """Whether a sentence ends between two texts."""
    first = right[0]
    if first.islower() or first in ",;:)]}»”":
        return False
    if not (_STOP.search(left) or (pause and _PAUSE.search(left))):
        return False
    if _ENUMERATOR.fullmatch(left) or (len(right) < 6 and _ENUMERATOR.fullmatch(right)):
        return False
    word = _LAST_WORD.search(left)
    last = word.group(1).lower() if word else ""
    if last in _BEFORE["number"] and (first.isdigit() or first in "(["):
        return False
    if last in _BEFORE["name"] and (first.isupper() or first in "(["):
        return False
    return not (word and _COMPANY.match(right))

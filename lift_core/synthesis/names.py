"""Names in a text: runs of capitalised words. Rules for scripts with two cases; elsewhere none are found."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from lift_core.synthesis.english import MONTHS, STOP_WORDS, word_set
from lift_core.synthesis.words import stem, words

_TOKEN = re.compile(r"[^\W\d_][\w'’-]*(?:\.(?=[^\W\d_]\.))?(?:[^\W\d_]\.)*")
_STARTS = re.compile(r"(?:^|[.!?:;\n•|“\"‘(\[]|[-–—*]\s|\s')[\s“\"'‘(\[*_#>-]*$")
_PARTICLES = word_set("al bin da de del della den der di du el ibn la le ten ter van von y zu")
_TITLES = word_set("capt col dr gen gov hon jr lt mr mrs ms prof rev sen sgt sr st")
_MANY_CAPITALS = 0.3
"""From this share of capitalised words on, as in German, capitals say nothing of names."""

_PEOPLES = {
    "british": "britain", "burmese": "burma", "danish": "denmark", "dutch": "netherlands",
    "english": "england",
    "filipino": "philippines", "finnish": "finland", "flemish": "flanders", "french": "france",
    "greek": "greece", "irish": "ireland", "norwegian": "norway", "peruvian": "peru", "polish": "poland",
    "portuguese": "portugal", "scottish": "scotland", "spanish": "spain", "swedish": "sweden",
    "swiss": "switzerland", "thai": "thailand", "turkish": "turkey", "welsh": "wales",
}  # fmt: skip
_ENDINGS = (
    "a",
    "an",
    "ans",
    "dy",
    "er",
    "ers",
    "ese",
    "i",
    "ia",
    "ian",
    "ians",
    "ic",
    "ish",
    "n",
    "ns",
    "s",
    "y",
)
"""What makes a people of a land."""


class Name(NamedTuple):
    """A name as it is written, and whether its first word may be capitalised for its place alone."""

    text: str
    opens_sentence: bool

    @property
    def words(self) -> tuple[str, ...]:
        """Its folded words without particles and what carries grammar."""
        return tuple(w for w in words(self.text) if w not in _PARTICLES and w not in STOP_WORDS)


def names_in(text: str) -> tuple[str, ...]:
    """The names of a text as written, in order, each once: ``("Odo Krell", "Marra")``.

    A sentence's first word counts where the text has it capitalised elsewhere too, where it is an acronym,
    or where a name goes on after it. Headings count where their words stand in the text as well. Nothing is
    found in a text that capitalises most nouns.
    """
    found = list(scan(text))
    certain = {word for name in found for word in name.words[1 if name.opens_sentence else 0 :]}
    kept: dict[tuple[str, ...], str] = {}
    for name in found:
        sure = not name.opens_sentence or len(name.words) > 1 or is_acronym(name.text)
        if name.words and (sure or name.words[0] in certain):
            kept.setdefault(tuple(map(stem, name.words)), name.text)
    return tuple(kept.values())


def scan(text: str) -> Iterator[Name]:
    """Every run of capitalised words of a text, a sentence's first word included."""
    if not capitals_tell(text):
        return
    for line in text.split("\n"):
        if line.lstrip().startswith("#") or line.isupper():
            continue
        yield from _scan_line(line)


def capitals_tell(text: str) -> bool:
    """Whether capitals mark names in a text: not in German, nor where nearly all is in capitals."""
    inner = re.findall(r"(?<=[a-zß-ÿ,] )[^\W\d_]\w*", text)
    return len(inner) < 60 or sum(word[0].isupper() for word in inner) / len(inner) < _MANY_CAPITALS


def is_acronym(word: str) -> bool:
    """Whether a word has capitals beyond its first letter: DNA, U.S., mRNA, BSkyB."""
    return sum(letter.isupper() for letter in word) > 1 and " " not in word


def knows(word: str, known: Container[str], initials: str) -> bool:
    """Whether a name's folded word is one of ``known`` stems, its people or land, or made of ``initials``.

    ``initials`` are the first letters of a text's words in a row: "fda" stands in those of "the Food and
    Drug Administration" without its "and".
    """
    root = stem(word)
    if root in known or word in known:
        return True
    if 2 < len(word) < 7 and word in initials:
        return True
    return any(form in known for form in _other_forms(word))


def is_calendar_word(word: str) -> bool:
    """Whether a folded word is a month."""
    return word in MONTHS


def _other_forms(word: str) -> Iterator[str]:
    """Stems of the land for a people and the other way round."""
    for people, land in _PEOPLES.items():
        if word in (people, people + "s"):
            yield stem(land)
        elif word == land:
            yield stem(people)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            root = word[: -len(ending)]
            yield from (root, stem(root), *(stem(root + other) for other in _ENDINGS))
    if len(word) >= 4:
        yield from (stem(word + other) for other in _ENDINGS)


def _scan_line(line: str) -> Iterator[Name]:
    run: list[re.Match[str]] = []
    for token in [*_TOKEN.finditer(line), None]:
        joined = run and token and _joins(line[run[-1].end() : token.start()], run[-1].group())
        if token and joined and (_capitalised(token.group()) or token.group() in _PARTICLES):
            run.append(token)
            continue
        if run:
            yield from _name(line, run)
        run = [token] if token and _capitalised(token.group()) else []


def _name(line: str, run: list[re.Match[str]]) -> Iterator[Name]:
    opens = _opens_sentence(line[: run[0].start()])
    while run and run[-1].group() in _PARTICLES:
        run = run[:-1]
    while run and run[0].group().casefold() in STOP_WORDS and not is_acronym(run[0].group()):
        run, opens = run[1:], False
    if run:
        yield Name(line[run[0].start() : run[-1].end()].rstrip("'’-"), opens)


def _joins(gap: str, before: str) -> bool:
    """Whether two words of a name may stand so: a blank between them, or a point after an initial."""
    abbreviated = len(before) == 1 or before.casefold() in _TITLES
    return gap in (" ", "-", "’", "'") or (gap == ". " and abbreviated)


def _opens_sentence(before: str) -> bool:
    if not _STARTS.search(before):
        return False
    last = re.search(r"(\w+)\.\s*$", before)
    return not (last and (last.group(1).casefold() in _TITLES or len(last.group(1)) == 1))


def _capitalised(word: str) -> bool:
    return word[0].isupper() or (is_acronym(word) and word[0].isalpha())


def initials_of(text_words: Iterable[str]) -> str:
    """First letters of the words in a row, with and without grammar: what an acronym is looked up in."""
    listed = [word for word in text_words if word[0].isalpha()]
    content = [word for word in listed if word not in STOP_WORDS and word not in _PARTICLES]
    return "".join(word[0] for word in listed) + " " + "".join(word[0] for word in content)


def in_order(name: tuple[str, ...], positions: dict[str, list[int]], reach: int = 4) -> bool:
    """Whether a name's stems follow each other in a text, each at most ``reach`` words after the last."""
    ends = set(positions.get(name[0], ()))
    for _, after in pairwise(name):
        ends = {p for p in positions.get(after, ()) if any(p - back in ends for back in range(1, reach + 1))}
    return bool(ends)

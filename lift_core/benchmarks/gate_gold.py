"""Pairs that people wrote, each put to the segment that answers it: what benchmark ``gate`` starts from.

Public sets say in which document or paragraph an answer lies, seldom in which sentence. A pair is taken only
where that is beyond doubt, and where its question stands by itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from lift_core.benchmarks.gate_rewording import number_values
from lift_core.benchmarks.routing import kept_back
from lift_core.documents import split
from lift_core.errors import LiftError
from lift_core.records import Record, Segment, SegmentationRecipe

Split = Literal["tuning", "measured"]

SETS = ("squad_dev", "covidqa", "fairytaleqa", "cuad_sample", "loogle_shortdep_qa")
TAUGHT_SETS = ("squad_dev", "covidqa", "fairytaleqa")
"""What the embedded model was taught on, to write and to read; documents kept back are measured on."""
SEEN_SETS = ("covidqa", "fairytaleqa")
"""Those of which all documents were among an earlier revision's lessons in writing, which lives on in it."""
_KEPT_BACK_SHARE = 0.1
_KEPT_BACK_EXAMPLES = frozenset({"fairytale:king-kojata", "covidqa:1689"})
CONTEXT_WORDS = 340
"""What a pair may rest on: its segment, and so many words before it."""
DOCUMENTS = 16
"""The most documents of a set and split: cutting one into sentences takes a second or two."""
MAX_ANSWER_WORDS = 12
"""Longer answers are clauses: what a question of CUAD marks, not what one asks for."""
MIN_SEGMENT_WORDS = 5
CONTRACT = "cuad:AURASYSTEMSINC_06_16_2010-EX-10.25-STRATEGIC ALLIANCE AGREEMENT"
"""Also one of the documents whose generated pairs were judged by hand: ``contract_cuad.txt``."""
_NOT_TO_TUNE = "squad:Steam_engine"
"""Taught, so it may not be measured; its generated pairs are judged by hand, so it may not tune either."""
_MAX_WORDS = 14_000
_TUNING_OF_HUNDRED = 33

_WORD = re.compile(r"\w+")
_COMMON_WORDS = """
    a an and are as at be been but by did do does for from had has have how in into is it its of on or
    that the their there they this to was were what when where which who whom whose why will with would
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_SELF_REFERRING = re.compile(
    r"\b(this|these|those|here|above|below|aforementioned|following"
    r"|the (study|paper|article|author|authors|passage|text|story|sentence|paragraph|report|researchers))\b",
    re.I,
)
_QUANTITY = re.compile(r"\b(how (many|much|old|long|often)|what percentage|(what|which) year)\b", re.I)
_FEW = re.compile(
    r"\b(all|no|none|half|both|few|many|most|several|once|twice|one|a|an|hundreds|thousands)\b", re.I
)
_STEM = 5
_PRONOUN = re.compile(r"\b(he|she|it|they|him|his|her|hers|its|their|them|we|our|us|you|your)\b", re.I)
_NAME_BEFORE = re.compile(r"\w\W+[A-Z]")


class GoldPair(Record):
    """A question of people, one of its answers, and the number of the segment that holds it.

    ``also`` are the other answers that count as right.
    """

    question: str
    answer: str
    also: tuple[str, ...] = ()
    segment: int


class GoldDocument(Record):
    """A document of a public set, cut as the pipeline does, with its pairs in document order.

    ``seen``: the embedded model was once taught on its pairs.
    """

    set: str
    doc_id: str
    title: str
    text: str
    seen: bool
    segments: tuple[Segment, ...]
    pairs: tuple[GoldPair, ...]

    def source(self, segment: int) -> str:
        """What a pair of the segment may rest on: the words before it, and its own, in one line."""
        before = self.text[: self.segments[segment].start].split()[-CONTEXT_WORDS:]
        return " ".join([*before, *self.segments[segment].text.split()])


def split_of(document: str) -> Split:
    """Where thresholds may be looked for, or where they are measured: by the hash of a document's id."""
    name = CONTRACT if document == "contract_cuad.txt" else document
    drawn = int(hashlib.sha256(f"gate/{name}".encode()).hexdigest(), 16) % 100
    return "tuning" if drawn < _TUNING_OF_HUNDRED else "measured"


def untaught(name: str, doc_ids: Sequence[str]) -> set[str]:
    """The documents of a set that the embedded model was never taught on, as its teaching keeps them back."""
    if name not in TAUGHT_SETS:
        return set(doc_ids)
    if name == "squad_dev":
        return kept_back(doc_ids)
    limit = _KEPT_BACK_SHARE * 2**32
    drawn = {each for each in doc_ids if int(hashlib.sha256(each.encode()).hexdigest()[:8], 16) < limit}
    return drawn | (_KEPT_BACK_EXAMPLES & set(doc_ids))


def read_gold(data: Path, part: Split) -> list[GoldDocument]:
    """The documents of one split, the sets in turn, so that whoever takes the first ones takes of all.

    Raises:
        LiftError: a set is missing in the folder ``data``.
    """
    found = [list(_documents(data, name, part)) for name in SETS]
    return [some[place] for place in range(DOCUMENTS) for some in found if place < len(some)]


def _documents(data: Path, name: str, part: Split) -> Iterator[GoldDocument]:
    path = data / f"{name}.jsonl"
    if not path.is_file():
        raise LiftError(f"{path} is missing: the benchmark needs the public set '{name}' in that folder")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    away = untaught(name, [row["doc_id"] for row in rows])

    def belongs(row: dict[str, Any]) -> bool:
        doc_id = row["doc_id"]
        if doc_id == _NOT_TO_TUNE:
            return False
        if name in TAUGHT_SETS:
            # A reader answers better what it has learned: that may only serve to tune.
            return part == ("measured" if doc_id in away else "tuning")
        return part == split_of(doc_id)

    rows = [row for row in rows if belongs(row) and len(_text(row).split()) <= _MAX_WORDS]
    for row in sorted(rows, key=lambda row: hashlib.sha256(row["doc_id"].encode()).digest())[:DOCUMENTS]:
        segments = split(_text(row), SegmentationRecipe())
        pairs = sorted(gold_pairs(row, segments), key=lambda pair: pair.segment)
        if pairs:
            yield GoldDocument(
                set=name,
                doc_id=row["doc_id"],
                title=row["title"].replace("_", " "),
                text=_text(row),
                seen=name in SEEN_SETS or row["doc_id"] not in away,
                segments=tuple(segments),
                pairs=tuple(pairs),
            )


def _text(row: dict[str, Any]) -> str:
    text: str = row.get("text") or row["context"]
    return text


def gold_pairs(row: dict[str, Any], segments: Sequence[Segment]) -> Iterator[GoldPair]:
    """The pairs of a document that one segment surely answers; of questions much alike, the first."""
    asked_before: list[set[str]] = []
    answered: set[tuple[int, str]] = set()
    for asked in row["qas"]:
        question = " ".join(asked["question"].split())
        answers = [" ".join(each.split()).strip(" .,;(") for each in asked.get("answers") or []]
        if not answers or not stands_alone(question) or not _explicit(asked):
            continue
        answer = min(answers, key=len)
        if not answer or len(answer.split()) > MAX_ANSWER_WORDS or not _fits(question, answer):
            continue
        segment = _segment_of(row, asked, question, answer, segments)
        words = content_words(question)
        if segment is None or any(_alike(words, other) for other in asked_before):
            continue
        if not _about(words, row, segments[segment]):
            continue
        # Two questions with one answer in one segment are most often the same question.
        if (segment, answer.lower()) in answered:
            continue
        asked_before.append(words)
        answered.add((segment, answer.lower()))
        yield GoldPair(question=question, answer=answer, also=tuple(answers), segment=segment)


def _fits(question: str, answer: str) -> bool:
    """Whether the answer is of the kind that is asked for: some pairs of the sets are marked wrongly."""
    if "__" in answer:
        return False
    return not _QUANTITY.search(question) or bool(number_values(answer) or _FEW.search(answer))


def _about(words: set[str], row: dict[str, Any], segment: Segment) -> bool:
    """Whether half of a question's words, or forms of them, stand in what the pair may rest on."""
    text = _text(row)
    source = f"{row['title']} {' '.join(text[: segment.start].split()[-CONTEXT_WORDS:])} {segment.text}"
    stems = {word[:_STEM] for word in _WORD.findall(source.lower())}
    return sum(word[:_STEM] in stems for word in words) >= len(words) / 2


def _explicit(asked: dict[str, Any]) -> bool:
    """Whether the text says the answer, as far as the set tells: no prediction, no clause to be found."""
    said = asked.get("explicitness", "explicit") == "explicit"
    return said and asked.get("type") not in ("prediction", "clause")


def stands_alone(question: str) -> bool:
    """Whether a question ends as one, and no word of it points at a text or at a sentence before it."""
    if not question.endswith("?") or len(question.split()) < 4 or _SELF_REFERRING.search(question):
        return False
    pronoun = _PRONOUN.search(question)
    return pronoun is None or bool(_NAME_BEFORE.search(question[: pronoun.start()]))


def _segment_of(
    row: dict[str, Any], asked: dict[str, Any], question: str, answer: str, segments: Sequence[Segment]
) -> int | None:
    """The segment that holds the answer: the only one, or the one that has most of the question's words."""
    begin, end = row["paragraph_spans"][asked["paragraph"]] if "paragraph_spans" in row else (0, None)
    evidence = [" ".join(each.split()) for each in asked.get("evidence", ())]
    holding = []
    for segment in segments:
        if segment.start < begin or (end is not None and segment.end > end):
            continue
        flat = " ".join(segment.text.split())
        if len(flat.split()) < MIN_SEGMENT_WORDS:
            continue
        if evidence:
            # The annotators quote what an answer rests on; the answer itself is in words of their own.
            if len(evidence) == 1 and (evidence[0] in flat or flat in evidence[0]):
                holding.append((segment.number, flat))
        elif re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", flat, re.I):
            holding.append((segment.number, flat))
    if len(holding) < 2 or evidence:
        return holding[0][0] if len(holding) == 1 else None
    words = content_words(question)
    ranked = sorted(((len(words & content_words(flat)), number) for number, flat in holding), reverse=True)
    (most, best), (next_most, _) = ranked[:2]
    return best if most >= next_most + 2 else None


def content_words(text: str) -> set[str]:
    """The words of a text that say what it is about, in lower case."""
    return {word for word in _WORD.findall(text.lower()) if word not in _COMMON}


def _alike(one: set[str], other: set[str]) -> bool:
    return len(one & other) >= 0.7 * max(1, len(one | other))

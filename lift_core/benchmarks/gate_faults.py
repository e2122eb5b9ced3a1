"""Faults planted into pairs that people wrote: the set that benchmark ``gate`` judges the gate by.

This code knows nothing of the gate. It has a notion of its own of what a number and a name are, and a pair
is taken only where the planted fault is surely one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from lift_core.benchmarks.gate_gold import GoldDocument, GoldPair, Split, content_words
from lift_core.benchmarks.gate_rewording import bind_to_context, change_number, names_of, reword, swap_name
from lift_core.records import Record

Label = Literal[
    "good",
    "number in answer",
    "number in question",
    "name in answer",
    "name in question",
    "unanswerable",
    "duplicate",
    "context-bound",
]
FAULTS: tuple[Label, ...] = (
    "number in question",
    "number in answer",
    "name in question",
    "name in answer",
    "unanswerable",
    "duplicate",
    "context-bound",
)
"""The rarest first: a pair of people is used once."""
PER_FAULT: dict[Split, int] = {"tuning": 40, "measured": 64}
FAR_SEGMENTS = 4
_CANDIDATES = 12


class LabelledPair(Record):
    """A pair with what is known of it. ``start`` and ``end`` are the segment's offsets in the document.

    ``near``, of a wrong name: it stands in the pair's source all the same.
    """

    set: str
    document: str
    segment: int
    start: int
    end: int
    question: str
    answer: str
    label: Label
    near: bool = False


Maker = Callable[[GoldDocument, GoldPair, random.Random], Sequence[LabelledPair]]
"""What can be made of a pair; nothing where the fault would not surely be one."""


def plant(documents: Sequence[GoldDocument], *, per_fault: int, seed: int) -> list[LabelledPair]:
    """So many pairs with each fault and, in all, as many good ones; in document order.

    Documents are gone through in turn, a pair a round, so that no document has many. A duplicate follows the
    good pair that it repeats. Fewer come where the documents do not have them.
    """
    dice = random.Random(seed)  # noqa: S311 - a seeded choice, not a secret
    unused = {each.doc_id: dice.sample(each.pairs, len(each.pairs)) for each in documents}
    found: list[LabelledPair] = []
    for fault in FAULTS:
        found += _take(documents, unused, _MAKERS[fault], per_fault, dice)
    good = sum(each.label == "good" for each in found)
    found += _take(documents, unused, _good, len(found) - 2 * good, dice)
    place = {each.doc_id: number for number, each in enumerate(documents)}
    # A stable sort: of the pairs of a segment the one that a duplicate repeats stays before it.
    return sorted(found, key=lambda each: (place[each.document], each.segment))


def _take(
    documents: Sequence[GoldDocument],
    unused: dict[str, list[GoldPair]],
    make: Maker,
    count: int,
    dice: random.Random,
) -> list[LabelledPair]:
    """``count`` times what ``make`` makes of a pair; pairs that it made something of are used up."""
    found: list[LabelledPair] = []
    turns = _turns(documents)
    times = fruitless = 0
    while times < count and fruitless < len(turns):
        document = turns[0]
        turns.rotate(-1)
        fruitless += 1
        pairs = unused[document.doc_id]
        for number, pair in enumerate(pairs):
            if made := make(document, pair, dice):
                del pairs[number]
                found += made
                times += 1
                fruitless = 0
                break
    return found


def _turns(documents: Sequence[GoldDocument]) -> deque[GoldDocument]:
    """The documents in turn so that every set comes as often, however many documents it has."""
    sets: dict[str, list[GoldDocument]] = {}
    for document in documents:
        sets.setdefault(document.set, []).append(document)
    longest = max(map(len, sets.values()), default=0)
    return deque(some[turn % len(some)] for turn in range(longest) for some in sets.values())


def _labelled(
    document: GoldDocument,
    pair: GoldPair,
    label: Label,
    *,
    question: str = "",
    answer: str = "",
    near: bool = False,
) -> LabelledPair:
    segment = document.segments[pair.segment]
    return LabelledPair(
        set=document.set,
        document=document.doc_id,
        segment=segment.number,
        start=segment.start,
        end=segment.end,
        question=question or pair.question,
        answer=answer or pair.answer,
        label=label,
        near=near,
    )


def _good(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    return [_labelled(document, pair, "good")]


def _number_in_answer(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    changed = change_number(pair.answer, _known(document, pair), dice)
    return [_labelled(document, pair, "number in answer", answer=changed)] if changed else []


def _number_in_question(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    changed = change_number(pair.question, _known(document, pair), dice)
    return [_labelled(document, pair, "number in question", question=changed)] if changed else []


def _known(document: GoldDocument, pair: GoldPair) -> str:
    return f"{document.title} {document.source(pair.segment)} {pair.question} {' '.join(pair.also)}"


def _name_in_answer(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    return _swapped(document, pair, "name in answer", dice)


def _name_in_question(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    return _swapped(document, pair, "name in question", dice)


def _swapped(
    document: GoldDocument,
    pair: GoldPair,
    label: Literal["name in answer", "name in question"],
    dice: random.Random,
) -> list[LabelledPair]:
    """One name for another of the document; the dice say whether it is one that stands in the source."""
    source = document.source(pair.segment)
    names = names_of(document.text)
    near = dice.random() < 0.5
    others = [name for name in sorted(names) if (name in source) == near and name not in document.title]
    if label == "name in question":
        # What is said of one may be true of another that stands in one sentence with the answer.
        answered = [each.text for each in document.segments if pair.answer.lower() in each.text.lower()]
        others = [name for name in others if not any(name in text for text in answered)]
    said = " ".join([pair.question, *pair.also])
    where = pair.answer if label == "name in answer" else pair.question
    changed = swap_name(where, others, said, names, dice)
    if not changed:
        return []
    if label == "name in answer":
        return [_labelled(document, pair, label, answer=changed, near=near)]
    return [_labelled(document, pair, label, question=changed, near=near)]


def _unanswerable(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    """Another part's question, put to this pair's segment, with this pair's answer.

    Of those that ask for the same kind of thing, it is the one that is most about what the segment is about.
    """
    source = document.source(pair.segment)
    about = content_words(source)
    fitting = [
        other
        for other in document.pairs
        if _kind_of(other.question) == _kind_of(pair.question)
        and abs(other.segment - pair.segment) > FAR_SEGMENTS
        and not any(answer.lower() in source.lower() for answer in other.also)
        and pair.answer.lower() not in document.segments[other.segment].text.lower()
        and document.segments[other.segment].text not in source
    ]
    if not fitting:
        return []
    drawn = dice.sample(fitting, min(_CANDIDATES, len(fitting)))
    other = max(drawn, key=lambda each: len(content_words(each.question) & about))
    return [_labelled(document, pair, "unanswerable", question=other.question)]


def _kind_of(question: str) -> str:
    """What a question asks for, by its first interrogative; two words of it, as in "how many"."""
    words = question.lower().rstrip("?").split()
    for place, word in enumerate(words):
        if word in ("who", "whom", "when", "where", "why"):
            return word
        if word in ("how", "what", "which"):
            return " ".join(words[place : place + 2])
    return ""


def _duplicate(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    """A good pair, and the same in other words."""
    changed = reword(pair.question, pair.answer, dice)
    if not changed:
        return []
    return [_labelled(document, pair, "good"), _labelled(document, pair, "duplicate", question=changed)]


def _context_bound(document: GoldDocument, pair: GoldPair, dice: random.Random) -> list[LabelledPair]:
    changed = bind_to_context(pair.question, dice)
    return [_labelled(document, pair, "context-bound", question=changed)] if changed else []


_MAKERS: dict[Label, Maker] = {
    "number in answer": _number_in_answer,
    "number in question": _number_in_question,
    "name in answer": _name_in_answer,
    "name in question": _name_in_question,
    "unanswerable": _unanswerable,
    "duplicate": _duplicate,
    "context-bound": _context_bound,
}

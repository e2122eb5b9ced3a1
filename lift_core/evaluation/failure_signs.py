"""Signs of failure that the LIFT paper names besides forgetting, asked about the adapter's own document.

Does the adapter still know its document, does it copy the document instead of answering, does what the base
model believed win over the document. They are signs, for a person to look closer: no verdict hangs on them,
because none of them can tell its cause. What each one cannot tell is said at its function.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lift_core.evaluation.scoring import f1, normalise
from lift_core.records import QAPair

COPIED_WORDS = 8
"""So many words in a row, the same as in the document, count as copied."""
RIGHT = 0.5
"""The F1 from which an answer counts as right, and two answers as the same."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W_]+")
_Run = tuple[str, ...]


def choose_questions(pairs: Sequence[QAPair], limit: int, seed: int) -> tuple[QAPair, ...]:
    """At most ``limit`` pairs to ask: held-out ones first, then learned ones, spread over the document.

    Of each kind, every segment that has one gives a pair before any gives a second; learned ones come first
    from the segments that gave fewest held-out ones. Where a round of segments does not fit, those at even
    distances are taken. Questions that differ only in case, punctuation and articles are asked once. The
    choice hangs on the pairs, the limit and the seed alone, not on the order of the pairs.
    """
    by_question: dict[str, QAPair] = {}
    for pair in sorted(pairs, key=lambda pair: (not pair.held_out, pair.segment, pair.question, pair.answer)):
        by_question.setdefault(" ".join(normalise(pair.question)), pair)
    chosen: list[QAPair] = []
    for held_out in (True, False):
        taken = Counter(pair.segment for pair in chosen)
        tier = [pair for pair in by_question.values() if pair.held_out == held_out]
        for members in _rounds(tier, taken, seed):
            chosen += _at_even_distances(members, limit - len(chosen), seed)
    return tuple(chosen)


def _rounds(pairs: Sequence[QAPair], taken: Counter[int], seed: int) -> list[list[QAPair]]:
    """Pairs in document order, one of a segment in a round, segments that gave fewest so far first."""
    places = Counter(taken)
    rounds: dict[int, list[QAPair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: (pair.segment, _share(seed, pair.question))):
        rounds[places[pair.segment]].append(pair)
        places[pair.segment] += 1
    return [rounds[number] for number in sorted(rounds)]


def _at_even_distances(members: list[QAPair], room: int, seed: int) -> list[QAPair]:
    if len(members) <= room:
        return members
    start = _share(seed, "start")
    return [members[int((number + start) * len(members) / room)] for number in range(room)]


def _share(seed: int, name: str) -> float:
    """A number from 0 up to 1 that looks random and is always the same for the same name and seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4]) / 2**32


def failure_signs(
    pairs: Sequence[QAPair], base_answers: Sequence[str], adapter_answers: Sequence[str], text: str
) -> dict[str, float]:
    """The signs, from what base and adapter answered to the pairs' questions without the document.

    ``text`` is the document. The signs are shares and means from 0 to 1, beside two counts:

    - ``own_questions``: how many questions were asked.
    - ``own_f1``, ``own_base_f1``: mean SQuAD F1 of adapter and base against the pairs' answers. An ``own_f1``
      no higher than ``own_base_f1`` says that the adapter does not answer about its document. It cannot tell
      a wrong answer from a right one in other or in more words, and the pairs' answers come from a generator,
      which errs too.
    - ``verbatim_copying``: share of the adapter's words, over all answers together, that it copied from the
      document instead of answering; see ``verbatim_copying``.
    - ``interference``: among ``interference_questions`` (the base says something and is wrong), the share
      where the adapter is wrong too and agrees with the base; see ``interference``.

    They are signs, and nothing is judged by them. A share or mean of nothing is left out.

    Raises:
        ValueError: there are not as many answers as pairs.
    """
    asked = list(zip(pairs, base_answers, adapter_answers, strict=True))
    signs = {"own_questions": float(len(asked))}
    if asked:
        signs["own_f1"] = sum(f1(adapter, [pair.answer]) for pair, _, adapter in asked) / len(asked)
        signs["own_base_f1"] = sum(f1(base, [pair.answer]) for pair, base, _ in asked) / len(asked)
    copied, said = verbatim_copying([(pair.answer, adapter) for pair, _, adapter in asked], text)
    if said:
        signs["verbatim_copying"] = copied / said
    won, questions = interference([(pair.answer, base, adapter) for pair, base, adapter in asked])
    signs["interference_questions"] = float(questions)
    if questions:
        signs["interference"] = won / questions
    return signs


def verbatim_copying(answers: Sequence[tuple[str, str]], text: str) -> tuple[int, int]:
    """How many words were copied from the document instead of answering, and how many were said in all.

    ``answers`` holds pairs of the accepted answer and what the adapter said. Words are runs of letters or of
    digits, in lower case; a number is one word with its points and commas. A word is copied if it lies in a
    run of at least ``COPIED_WORDS`` words of what was said that stands in ``text`` in the same order without
    a gap. From the copied words of an answer each word of the accepted answer then takes one of its own kind
    off. So a right answer in the document's own words counts 0, however long, and a passage recited around it
    counts without it.

    It cannot tell why: a sentence that answers well may be the document's own, and a question for a list or a
    definition invites one. A copy with another word in every eight is not seen, nor is any in a script that
    puts no blanks between words.
    """
    said = [_words(answer) for _, answer in answers]
    # The document is read once, past the runs that were said: no index of it, whatever its length.
    copied_runs = {run for words in said for run in _runs(words)}.intersection(_runs(_words(text)))
    copied = 0
    for (accepted, _), words in zip(answers, said, strict=True):
        places = {
            place + step
            for place, run in enumerate(_runs(words))
            if run in copied_runs
            for step in range(COPIED_WORDS)
        }
        copied += (Counter(words[place] for place in places) - Counter(_words(accepted))).total()
    return copied, sum(len(words) for words in said)


def interference(answers: Sequence[tuple[str, str, str]]) -> tuple[int, int]:
    """How often the base's wrong answer won over the document, and how often it could have.

    ``answers`` holds the accepted answer, what the base said and what the adapter said. It could win where
    the base said something (a word other than an article) and was wrong (F1 below ``RIGHT``). It won where
    the adapter was wrong too and agreed with the base (F1 of the two at least ``RIGHT``).

    It cannot tell knowledge from habit: a base that only guesses, and an adapter that has learned little and
    guesses likewise, look the same as a belief that prevailed. Answers in whole sentences share words of the
    question, and may agree by those alone; a right answer in many words counts as wrong.
    """
    won = questions = 0
    for accepted, base, adapter in answers:
        if not normalise(base) or f1(base, [accepted]) >= RIGHT:
            continue
        questions += 1
        won += f1(adapter, [accepted]) < RIGHT <= f1(adapter, [base])
    return won, questions


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: Sequence[str]) -> Iterator[_Run]:
    """Every ``COPIED_WORDS`` words in a row."""
    return zip(*(words[start:] for start in range(COPIED_WORDS)), strict=False)

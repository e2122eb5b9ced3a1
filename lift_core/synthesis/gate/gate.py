"""The gate: which pairs are worth learning, and why the others are not.

Cheap checks first. ``check`` looks at one segment's pairs and remembers nothing, so that segments can be
checked in any order; the reader and the judge (``round_trip``, ``judging``) look at what it lets through;
``settle`` takes the segments in document order, for what depends on the pairs kept before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from lift_core.records import JudgedPair, QAPair, Recipe
from lift_core.synthesis.gate import checks, grounding
from lift_core.synthesis.gate.checks import Finding
from lift_core.synthesis.gate.duplicates import Questions, normalised_question
from lift_core.synthesis.gate.grounding import Source
from lift_core.synthesis.gate.reasons import Reason
from lift_core.synthesis.words import plain

_DIVISIONS = 10_000


class Gate:
    """Judges the pairs of one document; ``kept_questions`` are those kept before, where it goes on."""

    def __init__(self, recipe: Recipe, title: str, kept_questions: Iterable[str] = ()) -> None:
        self._recipe = recipe
        self._title = title
        self._questions = Questions(recipe.gate.similarity, kept_questions)

    def check(
        self, segment: int, source: str, found: Iterable[tuple[str, str]], *, whole_section: bool = False
    ) -> list[JudgedPair]:
        """Judge (question, answer) pairs by the cheap checks, in order, against ``source``.

        ``source`` is the segment with the context that the generator saw. With ``whole_section`` it is a
        section, and the answer need not stand in it: counting and comparing state what the text does not.
        The same question again is a duplicate here already.
        """
        about = Source(source, self._title)
        seen: set[str] = set()
        judged = []
        for question, answer in found:
            finding = self._finding(question, answer, about, whole_section)
            normalised = normalised_question(question)
            if finding is None and normalised in seen:
                finding = "duplicate", "the segment has the question before"
            if finding is None:
                seen.add(normalised)
            pair = QAPair(segment=segment, question=question, answer=answer)
            reason, detail = finding or (None, "")
            judged.append(JudgedPair(pair=pair, kept=reason is None, reason=reason, detail=detail))
        return judged

    def settle(self, judged: Sequence[JudgedPair]) -> list[JudgedPair]:
        """Reject duplicates of what the document has kept, and a segment's excess; hold a share out.

        Call it once for every segment, in document order. What was rejected before stays as it is.
        """
        settled: list[JudgedPair] = []
        kept = 0
        for found in judged:
            if found.kept and (twin := self._questions.twin(found.pair.question)) is not None:
                found = rejected(found, "duplicate", f"of '{twin}'")
            elif found.kept and kept >= self._recipe.gate.max_pairs_per_segment:
                found = rejected(found, "excess", f"{kept} pairs are kept")
            elif found.kept:
                self._questions.add(found.pair.question)
                kept += 1
            settled.append(found)
        return self._hold_out(settled)

    def _finding(self, question: str, answer: str, source: Source, whole_section: bool) -> Finding | None:
        """The first fault of a pair, the cheapest checks first."""
        by_itself = (
            checks.form(question, answer)
            or checks.unanswered(answer)
            or checks.copied(question, answer, source)
            or (checks.context_bound(question, answer) if source.english else None)
            or checks.echo(question, answer)
            or (checks.mistyped(question, answer) if source.english else None)
        )
        if by_itself is not None:
            return by_itself
        if not self._recipe.gate.grounded:
            return None
        if not whole_section and (detail := grounding.ungrounded(answer, source)):
            return "ungrounded", detail
        if detail := grounding.invented(question, source):
            return "invented", detail
        if detail := grounding.unrelated(question, source):
            return "unrelated", detail
        return None

    def _hold_out(self, judged: list[JudgedPair]) -> list[JudgedPair]:
        """Keep a share of the pairs out of training, chosen by their words and the recipe's seed.

        Only a pair whose answer another kept pair of the segment teaches is held out: what is
        asked of the adapter can then be known, though never in these words.
        """
        kept = [found.pair for found in judged if found.kept]
        answers = [plain(pair.answer) for pair in kept]
        marked: set[int] = set()
        for index, pair in enumerate(kept):
            others = [a for i, a in enumerate(answers) if i != index and i not in marked]
            if answers[index] in others and self._chosen(pair):
                marked.add(index)
        held_out = {kept[index].question for index in marked}
        return [
            found.model_copy(update={"pair": found.pair.model_copy(update={"held_out": True})})
            if found.kept and found.pair.question in held_out
            else found
            for found in judged
        ]

    def _chosen(self, pair: QAPair) -> bool:
        seed = self._recipe.training.seed
        digest = hashlib.sha256(f"{seed}\n{normalised_question(pair.question)}".encode()).digest()
        share = self._recipe.proof.held_out_share
        return int.from_bytes(digest[:4], "big") % _DIVISIONS < share * _DIVISIONS


def rejected(found: JudgedPair, reason: Reason, detail: str) -> JudgedPair:
    """The pair, rejected."""
    return found.model_copy(update={"kept": False, "reason": reason, "detail": detail})

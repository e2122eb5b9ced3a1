"""The gate: which pairs are worth learning, and why the others are not. Cheap checks only, for now."""

from __future__ import annotations

import hashlib
import re

from lift_core.records import JudgedPair, QAPair, Recipe

_MAX_ANSWER = 200
_MAX_QUESTION = 300
_BOUND = re.compile(
    r"\b(according to|in|from|of) (the|this) (text|passage|sentence|paragraph|context|document)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W_]+")
_DIVISIONS = 10_000


def normalised_question(question: str) -> str:
    """A question without case, punctuation and extra blanks: equal ones are duplicates."""
    return _plain(question)


class Gate:
    """Judges the pairs of one document; ``seen`` are the normalised questions kept so far."""

    def __init__(self, recipe: Recipe, seen: set[str]) -> None:
        self._recipe = recipe
        self._seen = seen

    def judge(self, segment: int, source: str, found: list[tuple[str, str]]) -> list[JudgedPair]:
        """Judge a segment's pairs, in order, against ``source``: the segment and what precedes it."""
        plain_source = f" {_plain(source)} "
        judged: list[JudgedPair] = []
        kept = 0
        for question, answer in found:
            reason = self._reason(question, answer, plain_source)
            if reason is None and kept >= self._recipe.gate.max_pairs_per_segment:
                reason = "excess"
            if reason is None:
                self._seen.add(_plain(question))
                kept += 1
            pair = QAPair(segment=segment, question=question, answer=answer)
            judged.append(JudgedPair(pair=pair, kept=reason is None, reason=reason))
        return self._hold_out(judged)

    def _reason(self, question: str, answer: str, plain_source: str) -> str | None:
        plain = _plain(question)
        if not question.endswith("?") or len(plain.split()) < 3 or len(question) > _MAX_QUESTION:
            return "form"
        if not _plain(answer) or len(answer) > _MAX_ANSWER:
            return "form"
        if _BOUND.search(question):
            return "context-bound"
        if plain in self._seen:
            return "duplicate"
        if set(_plain(answer).split()) <= set(plain.split()):
            return "echo"
        if self._recipe.gate.grounded and f" {_plain(answer)} " not in plain_source:
            return "ungrounded"
        return None

    def _hold_out(self, judged: list[JudgedPair]) -> list[JudgedPair]:
        """Keep a share of the pairs out of training, chosen by their words and the recipe's seed.

        Only a pair whose answer another kept pair of the segment teaches is held out: what is
        asked of the adapter can then be known, though never in these words.
        """
        kept = [found.pair for found in judged if found.kept]
        answers = [_plain(pair.answer) for pair in kept]
        marked = set()
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
        digest = hashlib.sha256(f"{self._recipe.training.seed}\n{_plain(pair.question)}".encode()).digest()
        return int.from_bytes(digest[:4], "big") % _DIVISIONS < self._recipe.proof.held_out_share * _DIVISIONS


def _plain(text: str) -> str:
    """Lower-case words; a number is one word with its points and commas: 4 does not stand in 0.4."""
    return " ".join(_WORD.findall(text.lower()))

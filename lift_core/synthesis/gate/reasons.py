"""Why pairs are rejected: the one list that reports, the command line and the docs share."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "invented",
    "unsupported",
    "ungrounded",
    "disagreement",
    "unanswered",
    "unrelated",
    "mistyped",
    "context-bound",
    "copied",
    "echo",
    "length",
    "form",
    "duplicate",
    "excess",
]

_REASONS: dict[Reason, str] = {
    "invented": "the question has a name or number that stands neither in the source nor in the title",
    "unsupported": "the judge, a stronger model, does not find the pair supported by the source",
    "ungrounded": "the answer has a number, a name or a word that the source does not state so",
    "disagreement": "the reader, asked the question with the source before it, answers something else",
    "unanswered": "the source does not say it: so says the reader, or the answer itself",
    "unrelated": "the question shares too few words with the source",
    "mistyped": "the answer is not of the kind asked for: a number, a time, a yes or no",
    "context-bound": "the question cannot be understood without the text: 'in this passage', a bare 'he'",
    "copied": "question or answer copies the prompt, or the question a statement of the source",
    "echo": "the answer says nothing that the question does not say",
    "length": "question or answer is longer than a fact needs, or the question shorter than one can be",
    "form": "no question mark, no answer, a cut or looping answer",
    "duplicate": "the document has a kept pair with the same, or nearly the same, question",
    "excess": "the segment has as many pairs as the recipe allows",
}


def reasons() -> dict[Reason, str]:
    """All reasons with one line of explanation each, the gravest first."""
    return dict(_REASONS)

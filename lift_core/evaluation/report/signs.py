"""The signs of failure that were measured on the adapter's own document, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lift_core.evaluation.report.blocks import Block, Bullets, Code, Heading, Paragraph, Words
from lift_core.evaluation.report.words import count


def section(signs: Mapping[str, float]) -> Iterator[Block]:
    """The section about ``signs``; none where nothing was measured. Unknown signs are shown as they are."""
    if not signs:
        return
    yield Heading("On its own document")
    yield Paragraph(
        ["The adapter was asked without its document. These are signs; nothing is judged by them."]
    )
    yield Bullets([*_known(signs), *_unknown(signs)])


_SENTENCES = {
    "own_f1": "Its answers agree with the accepted ones by an F1 of {:.2f}, where 1 is word for word.",
    "own_base_f1": (
        "The base model's answers to the same questions reach an F1 of {:.2f}: an adapter that is no better "
        "does not know its document."
    ),
    "verbatim_copying": (
        "{:.1%} of its answers' words stand in long runs copied word for word from the document, beyond what "
        "the accepted answers ask for."
    ),
}
_KNOWN = {*_SENTENCES, "own_questions", "interference", "interference_questions"}


def _known(signs: Mapping[str, float]) -> Iterator[Words]:
    if "own_questions" in signs:
        yield (f"It was asked {count(round(signs['own_questions']), 'question')} about its document.",)
    for name, sentence in _SENTENCES.items():
        if name in signs:
            yield (sentence.format(signs[name]),)
    questions = signs.get("interference_questions")
    if "interference" in signs:
        among = "the questions" if questions is None else count(round(questions), "question")
        yield (
            f"Of {among} that the base model answered wrongly, the adapter gave much the same wrong answer "
            f"to {signs['interference']:.1%}: there, what the base had learned before won over the document.",
        )
    elif questions is not None:
        yield ("The base model answered none wrongly, so nothing could win over the document.",)


def _unknown(signs: Mapping[str, float]) -> Iterator[Words]:
    for name in sorted(signs.keys() - _KNOWN):
        yield (Code(name), f": {signs[name]:g}")

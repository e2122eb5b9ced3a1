"""Round trip: a reader that sees the source, but not the answer, must come to the same answer.

After round-trip consistency (Alberti et al. 2019, arXiv 1906.05416).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean

from lift_core.records import JudgedPair
from lift_core.synthesis.gate.agreement import compare
from lift_core.synthesis.gate.asking import ask_about_kept
from lift_core.synthesis.gate.gate import rejected

READING_TEMPERATURE = 1.0
"""Where a reader is asked for several answers: their shares are then what it believes."""


async def read_back(
    ask: Callable[[str], Awaitable[Sequence[str | None]]],
    judged: Sequence[JudgedPair],
    *,
    agreement: float,
    agreeing_share: float,
) -> list[JudgedPair]:
    """Ask the reader every kept pair's question; reject where too few of its answers agree.

    Args:
        ask: question to the reader's answers, None where it says that the source does not state it.
        judged: a segment's pairs; rejected ones are not asked about and stay as they are.
        agreement: the word F1 from which two answers agree (``gate.agreement``).
        agreeing_share: the share of the reader's answers that must agree (``gate.agreeing_share``).

    A pair that stays kept has ``agreement`` set: the mean F1 of its answer and those that agree.
    """

    async def look(found: JudgedPair) -> JudgedPair:
        answers = await ask(found.pair.question)
        said = [answer for answer in answers if answer is not None]
        compared = [compare(found.pair.answer, answer, agreement) for answer in said]
        agreed = [each.f1 for each in compared if each.agree]
        if agreed and len(agreed) >= agreeing_share * len(answers):
            return found.model_copy(update={"agreement": round(fmean(agreed), 3)})
        others = [(answer, each) for answer, each in zip(said, compared, strict=True) if not each.agree]
        if len(others) <= len(answers) - len(said):
            return rejected(found, "unanswered", "the reader finds no answer in the source")
        answer, differs = others[0]
        return rejected(found, "disagreement", f"the reader answers '{answer}': {differs.why}")

    return await ask_about_kept(judged, look)

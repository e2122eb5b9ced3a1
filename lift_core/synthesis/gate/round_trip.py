"""Round trip: a reader that sees the source, but not the answer, must come to the same answer.

After round-trip consistency (Alberti et al. 2019, arXiv 1906.05416).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from lift_core.records import JudgedPair
from lift_core.synthesis.gate.agreement import compare
from lift_core.synthesis.gate.asking import ask_about_kept
from lift_core.synthesis.gate.gate import rejected


async def read_back(
    ask: Callable[[str], Awaitable[str | None]], judged: Sequence[JudgedPair], *, agreement: float
) -> list[JudgedPair]:
    """Ask the reader every kept pair's question; reject where it has no answer or another one.

    Args:
        ask: question to the reader's answer, or None where it says that the source does not state it.
        judged: a segment's pairs; rejected ones are not asked about and stay as they are.
        agreement: the word F1 from which two answers agree (``gate.agreement``).

    A pair that stays kept has ``agreement`` set: the F1 of the two answers.
    """

    async def look(found: JudgedPair) -> JudgedPair:
        answer = await ask(found.pair.question)
        if answer is None:
            return rejected(found, "unanswered", "the reader finds no answer in the source")
        compared = compare(found.pair.answer, answer, agreement)
        if not compared.agree:
            return rejected(found, "disagreement", f"the reader answers '{answer}': {compared.why}")
        return found.model_copy(update={"agreement": round(compared.f1, 3)})

    return await ask_about_kept(judged, look)

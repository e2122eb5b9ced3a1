"""The judge: a stronger model says whether the source supports a pair."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from lift_core.records import JudgedPair, QAPair
from lift_core.synthesis.gate.asking import ask_about_kept
from lift_core.synthesis.gate.gate import rejected


async def judge(
    ask: Callable[[QAPair], Awaitable[tuple[bool, str]]], judged: Sequence[JudgedPair]
) -> list[JudgedPair]:
    """Ask the judge about every kept pair; reject what it does not find supported.

    Args:
        ask: a pair to (supported, why).
        judged: a segment's pairs; rejected ones are not asked about and stay as they are.
    """

    async def look(found: JudgedPair) -> JudgedPair:
        supported, why = await ask(found.pair)
        return found if supported else rejected(found, "unsupported", why)

    return await ask_about_kept(judged, look)

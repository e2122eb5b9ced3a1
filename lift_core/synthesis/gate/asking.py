"""One question each about a list of pairs, all at once; whoever is asked bounds the requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from lift_core.records import JudgedPair
from lift_core.synthesis.tasks import all_of


async def ask_about_kept(
    judged: Sequence[JudgedPair], look: Callable[[JudgedPair], Awaitable[JudgedPair]]
) -> list[JudgedPair]:
    """``judged`` in its order, each kept pair as ``look`` returns it. An error ends the other looks."""

    async def one(found: JudgedPair) -> JudgedPair:
        return await look(found) if found.kept else found

    return await all_of(one(found) for found in judged)

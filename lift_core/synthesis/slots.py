"""A bound on requests under way that lets what comes first in the document go first."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """At most ``count`` holders at once; the next is who waits with the lowest order, the first of equals.

    First come, first served would write the first draft of every segment before the second one of any: the
    first pairs would come when nearly all are written, and whoever learns them would wait.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    @asynccontextmanager
    async def held(self, order: int) -> AsyncIterator[None]:
        """Hold a slot, waiting for one where all are taken."""
        await self._take(order)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, order: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (order, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            # It may have been given a slot in the moment in which it stopped waiting.
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

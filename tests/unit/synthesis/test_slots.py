"""Who goes next where only so many may."""

import asyncio

import pytest

from lift_core.synthesis.slots import Slots


class Crowd:
    """Tasks that hold a slot until they are let go, and the order in which they got one."""

    def __init__(self, count):
        self.slots = Slots(count)
        self.began, self.doors = [], {}

    async def _hold(self, name, order):
        async with self.slots.held(order):
            self.began.append(name)
            await self.doors[name].wait()

    async def come(self, name, order):
        self.doors[name] = asyncio.Event()
        task = asyncio.create_task(self._hold(name, order))
        await asyncio.sleep(0)
        return task

    async def leave(self, name):
        self.doors[name].set()
        for _ in range(5):
            await asyncio.sleep(0)


def test_who_comes_first_in_the_document_goes_first():
    async def go():
        crowd = Crowd(1)
        for name, order in (("now", 9), ("late", 5), ("early", 1), ("early too", 1)):
            await crowd.come(name, order)
        assert crowd.began == ["now"]
        for name in ("now", "early", "early too", "late"):
            await crowd.leave(name)
        return crowd.began

    assert asyncio.run(go()) == ["now", "early", "early too", "late"]


def test_no_more_than_so_many_at_once():
    async def go():
        crowd = Crowd(2)
        for name in "abc":
            await crowd.come(name, 0)
        assert crowd.began == ["a", "b"]
        await crowd.leave("b")
        return crowd.began

    assert asyncio.run(go()) == ["a", "b", "c"]


@pytest.mark.parametrize("given", [False, True])
def test_who_stops_waiting_takes_no_slot_along(given):
    async def go():
        crowd = Crowd(1)
        await crowd.come("a", 0)
        gone = await crowd.come("gone", 0)
        await crowd.come("b", 1)
        if given:
            # The slot is handed to it in the step in which it is cancelled.
            crowd.doors["a"].set()
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await crowd.leave("a")
        return crowd.began

    assert asyncio.run(go()) == ["a", "b"]

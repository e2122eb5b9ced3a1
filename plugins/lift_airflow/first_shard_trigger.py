"""The trigger that a deferred training waits with: it fires at the first row of the job's manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import structlog
from airflow.triggers.base import BaseTrigger, TriggerEvent

from lift_core.errors import ServiceUnavailableError

_log: Any = structlog.get_logger("lift")


class FirstShardTrigger(BaseTrigger):
    """Fires once the job's stream has begun, or once the job has ended without one.

    It keeps nothing that the registry does not know: a triggerer that takes it over asks anew.
    """

    def __init__(self, job_id: int, poll_seconds: float = 0.5) -> None:
        super().__init__()
        self.job_id = job_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow stores this trigger: no secret in it."""
        arguments = {"job_id": self.job_id, "poll_seconds": self.poll_seconds}
        return ("lift_airflow.first_shard_trigger.FirstShardTrigger", arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event: ``begun`` says whether there is a stream to train on."""
        begun = await _watch.begun(self.job_id, self.poll_seconds)
        yield TriggerEvent({"job_id": self.job_id, "begun": begun})


class _Watch:
    """Asks the registry for all waiting jobs of this triggerer at once; nobody waits, nobody asks."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[bool], int] = {}
        self._asking: asyncio.Task[None] | None = None

    async def begun(self, job_id: int, poll_seconds: float) -> bool:
        """Wait for news of a job's stream."""
        news = asyncio.get_running_loop().create_future()
        self._waiting[news] = job_id
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(poll_seconds))
        try:
            # Whatever ends the asking ends those that wait for it, with its error.
            await asyncio.wait({news, self._asking}, return_when=asyncio.FIRST_COMPLETED)
            if not news.done():
                self._asking.result()
            return await news
        finally:
            self._waiting.pop(news, None)

    async def _ask(self, poll_seconds: float) -> None:
        # Imported here: every process of Airflow loads this file, as it loads all in its plugins folder.
        from lift_core.registry import AdapterRegistry
        from lift_core.settings import get_settings

        registry = AdapterRegistry.from_settings(get_settings())
        while self._waiting:
            try:
                known = await asyncio.to_thread(registry.streams_begun, set(self._waiting.values()))
            except ServiceUnavailableError as error:
                # Away for minutes: the jobs wait for the registry as they wait for their pairs.
                _log.warning("waiting for the registry", error=str(error), jobs=len(self._waiting))
                known = {}
            for news, job_id in list(self._waiting.items()):
                if job_id in known and not news.done():
                    news.set_result(known[job_id])
            await asyncio.sleep(poll_seconds)


_watch = _Watch()

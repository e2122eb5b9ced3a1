"""The queue trigger: it wakes the dispatcher when a job waits and a slot is free.

Without it, what waits behind LIFT_MAX_ACTIVE_JOBS would start when the clock strikes, a minute later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from lift_core.errors import LiftError
from lift_core.settings import get_settings


class QueueTrigger(BaseEventTrigger):
    """Fires once for each change of the queue that lets a job start; asks every ``poll_seconds``."""

    def __init__(self, poll_seconds: float = 1.0) -> None:
        super().__init__()
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow stores this trigger: no secret in it."""
        return ("lift_airflow.queue_trigger.QueueTrigger", {"poll_seconds": self.poll_seconds})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event when a job may start; a registry that is away is waited for."""
        # Airflow imports every plugin at its start; the registry's libraries are not for all its parts.
        from lift_core.registry import AdapterRegistry

        settings = get_settings()
        # One connection that stays: this asks for as long as the triggerer lives.
        registry = AdapterRegistry.from_settings(settings, pool_size=1)
        bucket, limit = settings.documents_bucket, settings.max_active_jobs
        acted_on = None
        while True:
            try:
                mark = await asyncio.to_thread(registry.waiting, bucket, limit)
                if mark is not None and mark != acted_on:
                    yield TriggerEvent({"bucket": bucket})
                acted_on = mark
            except LiftError as error:
                self.log.warning("%s", error)
            await asyncio.sleep(self.poll_seconds)

"""The bucket trigger: it wakes the dispatcher, nothing more. The listing is the truth.

Where the server tells of changes (MinIO), it listens; elsewhere it lists and compares.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from lift_core.errors import LiftError
from lift_core.settings import get_settings
from lift_core.store import NotOfferedError, ObjectStore

_FINGERPRINT = "fingerprint"


class BucketTrigger(BaseEventTrigger):
    """Fires when the inbox bucket's content changed. Keys and secrets come from the settings."""

    def __init__(self, poll_seconds: float = 0.5) -> None:
        super().__init__()
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow stores this trigger: no secret in it."""
        return ("lift_airflow.bucket_trigger.BucketTrigger", {"poll_seconds": self.poll_seconds})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event whenever something changed; an unreachable server is waited for."""
        settings = get_settings()
        store = ObjectStore.from_settings(settings)
        bucket = settings.documents_bucket
        listening = True
        while True:
            try:
                if await self._changed(store, bucket):
                    yield TriggerEvent({"bucket": bucket})
                if listening:
                    await asyncio.to_thread(_next_notification, store, bucket)
                    continue
            except NotOfferedError:
                self.log.info("the server does not tell of changes; listing %s instead", bucket)
                listening = False
            except LiftError as error:
                self.log.warning("%s", error)
            await asyncio.sleep(self.poll_seconds)

    async def _changed(self, store: ObjectStore, bucket: str) -> bool:
        """Whether the bucket differs from what the last event was about; remembers it if so."""
        now = await asyncio.to_thread(fingerprint, store, bucket)
        if now == await self.asset_state_store.aget(_FINGERPRINT, default=None):
            return False
        await self.asset_state_store.aset(_FINGERPRINT, now)
        return True


def fingerprint(store: ObjectStore, bucket: str) -> str:
    """One short text for all keys and ETags of a bucket."""
    whole = hashlib.sha256()
    for found in store.list(bucket):
        whole.update(f"{found.key}\0{found.etag}\0".encode())
    return whole.hexdigest()


def _next_notification(store: ObjectStore, bucket: str) -> None:
    """Return at the next notification, or when the server ends the stream."""
    next(iter(store.listen(bucket)), None)

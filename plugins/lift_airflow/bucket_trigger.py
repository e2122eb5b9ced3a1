"""The bucket trigger: it wakes the dispatcher, nothing more. The listing is the truth.

Where the server tells of changes (MinIO), it listens; elsewhere it lists and compares. Listening, it lists
as well: when the stream was opened anew, and now and then, because a notification can be lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from lift_core.errors import LiftError
from lift_core.settings import get_settings
from lift_core.store import NotOfferedError, ObjectStore

_FINGERPRINT = "fingerprint"
_REST = 4.0
"""After a listing that took t seconds it rests at least so many t: a large bucket is listed less often."""


class BucketTrigger(BaseEventTrigger):
    """Fires when the inbox bucket's content changed. Keys and secrets come from the settings.

    ``poll_seconds``: between listings where the server does not tell of changes, and between attempts to
    listen; ``relist_seconds``: between listings while it does.
    """

    def __init__(self, poll_seconds: float = 0.5, relist_seconds: float = 60.0) -> None:
        super().__init__()
        self.poll_seconds = poll_seconds
        self.relist_seconds = relist_seconds
        self._connected = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow stores this trigger: no secret in it."""
        return (
            "lift_airflow.bucket_trigger.BucketTrigger",
            {"poll_seconds": self.poll_seconds, "relist_seconds": self.relist_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event whenever something changed; an unreachable server is waited for."""
        settings = get_settings()
        store = ObjectStore.from_settings(settings)
        bucket = settings.documents_bucket
        wake, ended = asyncio.Event(), threading.Event()
        listening = asyncio.create_task(self._listen(store, bucket, wake, ended))
        try:
            while True:
                # Cleared before the look: what is told of during it asks for another one.
                wake.clear()
                began = time.monotonic()
                try:
                    if await self._changed(store, bucket):
                        yield TriggerEvent({"bucket": bucket})
                except LiftError as error:
                    self.log.warning("%s", error)
                rest = max(self.poll_seconds, _REST * (time.monotonic() - began))
                if self._connected:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), max(rest, self.relist_seconds))
                else:
                    await asyncio.sleep(rest)
        finally:
            ended.set()
            listening.cancel()

    async def _listen(
        self, store: ObjectStore, bucket: str, wake: asyncio.Event, ended: threading.Event
    ) -> None:
        """Listen for as long as the server offers it, again and again; wakes at each change."""
        loop = asyncio.get_running_loop()

        def told() -> None:
            self._connected = True
            loop.call_soon_threadsafe(wake.set)

        while True:
            try:
                await asyncio.to_thread(_follow, store, bucket, told, ended)
            except NotOfferedError:
                self.log.info("the server does not tell of changes; listing %s instead", bucket)
                return
            except LiftError as error:
                self.log.warning("listening again: %s", error)
            finally:
                self._connected = False
                wake.set()
            await asyncio.sleep(self.poll_seconds)

    async def _changed(self, store: ObjectStore, bucket: str) -> bool:
        """Whether the bucket differs from what the last event was about; remembers it if so."""
        now = await asyncio.to_thread(fingerprint, store, bucket)
        if now == await self.asset_state_store.aget(_FINGERPRINT, default=None):
            return False
        await self.asset_state_store.aset(_FINGERPRINT, now)
        return True


def fingerprint(store: ObjectStore, bucket: str) -> str:
    """One short text for all keys, ETags and times of a bucket: a new tag on old bytes is a change too."""
    whole = hashlib.sha256()
    for found in store.list(bucket):
        whole.update(f"{found.key}\0{found.etag}\0{found.arrived_at.timestamp()}\0".encode())
    return whole.hexdigest()


def _follow(store: ObjectStore, bucket: str, told: Callable[[], None], ended: threading.Event) -> None:
    """Call ``told`` at each change, until the server ends the stream or ``ended`` is set."""
    for changed in store.listen(bucket):
        if ended.is_set():
            return
        if changed:
            told()

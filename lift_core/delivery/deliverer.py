"""The loop that delivers: takes what is due, posts several at once, says what came of each."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import structlog

from lift_core.delivery.messages import message_of
from lift_core.delivery.sending import Answer, Sender
from lift_core.errors import ServiceUnavailableError
from lift_core.registry.webhooks import DueDelivery, Webhooks

_AT_ONCE = 8
"""Webhooks that are served side by side, so that one slow receiver does not hold up the others."""
_IDLE_SECONDS = 1.0
_AWAY_SECONDS = 5.0


class Deliverer:
    """Delivers events until it is told to stop. Several may run, on several machines."""

    def __init__(self, registry: Webhooks, sender: Sender) -> None:
        self._registry = registry
        self._sender = sender
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger("lift.webhooks")

    def stop(self) -> None:
        """Take no more deliveries; those under way are finished first."""
        self._stopping.set()

    async def run(self, *, once: bool = False) -> None:
        """Deliver what is due until :meth:`stop`; with ``once`` only until nothing is due any more.

        Raises:
            ServiceUnavailableError: with ``once``, the registry is away; otherwise that is waited for.
        """
        running: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            try:
                taken = await asyncio.to_thread(self._registry.take_deliveries, _AT_ONCE - len(running))
            except ServiceUnavailableError as error:
                if once:
                    raise
                self._log.warning("the registry is away", reason=str(error))
                await self._pause(_AWAY_SECONDS)
                continue
            running |= {asyncio.create_task(self._deliver(delivery)) for delivery in taken}
            if running:
                done, running = await asyncio.wait(
                    running, timeout=_IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
            elif once:
                return
            else:
                await self._pause(_IDLE_SECONDS)
        await asyncio.gather(*running)

    async def _deliver(self, delivery: DueDelivery) -> None:
        event = delivery.event
        log = self._log.bind(
            webhook=delivery.target.id,
            host=urlsplit(delivery.target.url).hostname,
            event_id=event.id,
            kind=event.kind,
            subject=event.subject,
            attempt=delivery.attempt,
        )
        answer = await self._sender.send(delivery.target, message_of(event))
        try:
            await asyncio.to_thread(self._record, delivery, answer, log)
        except ServiceUnavailableError as error:
            log.warning(
                "not recorded: it is delivered again",
                answer=answer.reason or answer.status,
                reason=str(error),
            )

    def _record(self, delivery: DueDelivery, answer: Answer, log: structlog.stdlib.BoundLogger) -> None:
        if answer.reason is None:
            self._registry.record_delivered(delivery)
            log.info("delivered", status=answer.status)
            return
        stands = self._registry.record_failed(delivery, answer.reason, gone=answer.gone)
        if stands is None:
            log.warning("not delivered, and the webhook was removed", reason=answer.reason)
        elif stands.state == "given up":
            log.error("given up", reason=answer.reason, webhook_disabled=answer.gone)
        else:
            again = stands.next_at.isoformat(timespec="seconds") if stands.next_at else None
            log.warning("not delivered", reason=answer.reason, next_at=again)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

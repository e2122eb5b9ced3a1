"""The loop that delivers: it ends cleanly, and outlasts a registry that is away."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from lift_core.delivery import Answer, Deliverer, deliverer
from lift_core.errors import ServiceUnavailableError
from lift_core.records import Event
from lift_core.registry.webhooks import DueDelivery, WebhookTarget

URL = "https://example.com/secret-path?token=s3cr3t"


def delivery(number):
    return DueDelivery(
        target=WebhookTarget(id=number, url=URL, secret="whsec_" + "a" * 32),
        event=Event(id=number, at=datetime.now(UTC), kind="job.done", subject=f"run-{number}", detail={}),
        attempt=1,
    )


class Registry:
    """Stands for the registry: each question gets the next of the answers, then nothing is due."""

    def __init__(self, *answers, away_when_recording=False):
        self.answers = list(answers)
        self.away_when_recording = away_when_recording
        self.delivered = []

    def take_deliveries(self, limit):
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        assert len(answer) <= limit
        return answer

    def record_delivered(self, found):
        if self.away_when_recording:
            raise ServiceUnavailableError("the registry does not answer")
        self.delivered.append(found.event.id)


class Sender:
    """Stands for the way to the receivers; calls ``meanwhile`` while a message is under way."""

    def __init__(self, meanwhile=None):
        self.meanwhile = meanwhile
        self.sent = []

    async def send(self, target, message):
        if self.meanwhile:
            await self.meanwhile()
        self.sent.append(target.id)
        return Answer(200)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(deliverer, "_IDLE_SECONDS", 0.01)
    monkeypatch.setattr(deliverer, "_AWAY_SECONDS", 0.01)


def test_once_ends_when_nothing_is_due_any_more():
    registry = Registry([delivery(1), delivery(2)], [delivery(3)])
    asyncio.run(Deliverer(registry, Sender()).run(once=True))
    assert sorted(registry.delivered) == [1, 2, 3]


def test_what_is_under_way_when_it_is_stopped_is_finished_and_nothing_more_is_taken():
    registry = Registry([delivery(1)], [delivery(2)], [delivery(3)])

    async def run():
        async def stopped_meanwhile():
            loop.stop()
            await asyncio.sleep(0.05)

        loop = Deliverer(registry, Sender(stopped_meanwhile))
        await loop.run()

    asyncio.run(run())
    assert registry.delivered == [1]


def test_a_registry_that_is_away_is_waited_for():
    registry = Registry(
        ServiceUnavailableError("is it up?"), ServiceUnavailableError("is it up?"), [delivery(1)]
    )

    async def run():
        async def stop():
            loop.stop()

        loop = Deliverer(registry, Sender(stop))
        await loop.run()

    with capture_logs() as logs:
        asyncio.run(run())
    assert registry.delivered == [1]
    assert [each["event"] for each in logs] == ["the registry is away"] * 2 + ["delivered"]
    assert [each["reason"] for each in logs[:2]] == ["is it up?"] * 2


def test_once_does_not_wait_for_a_registry_that_is_away():
    with pytest.raises(ServiceUnavailableError):
        asyncio.run(Deliverer(Registry(ServiceUnavailableError("away")), Sender()).run(once=True))


def test_a_registry_that_goes_away_before_the_outcome_is_recorded_does_not_end_the_loop():
    registry, sender = Registry([delivery(1)], [delivery(2)], away_when_recording=True), Sender()
    with capture_logs() as logs:
        asyncio.run(Deliverer(registry, sender).run(once=True))
    assert sender.sent == [1, 2]
    assert [each["event"] for each in logs] == ["not recorded: it is delivered again"] * 2


def test_a_line_a_delivery_names_the_event_and_neither_path_nor_secret():
    with capture_logs() as logs:
        asyncio.run(Deliverer(Registry([delivery(7)]), Sender()).run(once=True))
    [line] = logs
    expected = {"event": "delivered", "webhook": 7, "host": "example.com", "kind": "job.done", "status": 200}
    assert expected.items() <= line.items()
    assert line["event_id"] == 7
    for hidden in (urlsplit(URL).path, "s3cr3t", "whsec_"):
        assert hidden not in str(line)

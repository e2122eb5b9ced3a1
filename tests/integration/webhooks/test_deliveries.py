"""Events reach the webhooks that want them: signed, in order, retried, at least once."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from lift_core.delivery import Deliverer, Sender
from lift_core.errors import LiftError, NotFoundError, StateError
from lift_core.registry.database import event
from lift_core.registry.webhook_rules import MAX_ATTEMPTS
from lift_core.registry.webhooks import HOLDS_UP, Webhooks

# --- events ---------------------------------------------------------------------------------


def test_an_event_is_delivered_once_and_signed(registry, hooks, receiver, add, deliver):
    webhook = add(receiver)
    registry.record_event("adapter.damaged", "report-v1", problems=["ä is missing"])
    deliver()
    deliver()
    [found] = receiver.received
    [written] = registry.events("report-v1")
    assert found.signed
    assert found.body == {
        "type": "adapter.damaged",
        "timestamp": written.at.astimezone(UTC).isoformat(),
        "data": {"subject": "report-v1", "problems": ["ä is missing"]},
    }
    assert found.headers["content-type"] == "application/json"
    [told] = hooks.deliveries(webhook)
    assert (told.event, told.state, told.attempts, told.last_error) == (written.id, "delivered", 1, None)


def test_what_happens_to_a_document_is_told_in_order(registry, work, receiver, add, deliver, sql):
    add(receiver)
    work.active("report.md")
    registry.quarantine("report-v1", "it is wrong")
    deliver()
    assert [each.kind for each in receiver.received if each.subject == "report-v1"] == [
        "adapter.candidate",
        "adapter.proven",
        "adapter.active",
        "adapter.quarantined",
    ]
    assert [each.kind for each in receiver.received] == [
        kind for (kind,) in sql("SELECT kind FROM events ORDER BY id")
    ]


def test_an_event_of_a_rolled_back_transaction_is_never_delivered(registry, receiver, add, deliver):
    add(receiver)
    with pytest.raises(ZeroDivisionError), registry.transaction() as connection:
        event(connection, "job.done", "never")
        raise ZeroDivisionError
    with registry.transaction() as connection:
        event(connection, "job.done", "not-yet")
        deliver()
        assert receiver.subjects == []
    deliver()
    assert receiver.subjects == ["not-yet"]


def test_a_webhook_hears_of_the_kinds_it_asked_for(registry, new_receiver, add, deliver):
    every, one, group = new_receiver(), new_receiver(), new_receiver()
    add(every)
    add(one, "adapter.active")
    add(group, "adapter.*", "job.done")
    for kind in ("adapter.active", "adapter.tagged", "job.done", "job.failed", "alias.moved"):
        registry.record_event(kind, kind)
    deliver()
    assert every.subjects == ["adapter.active", "adapter.tagged", "job.done", "job.failed", "alias.moved"]
    assert one.subjects == ["adapter.active"]
    assert group.subjects == ["adapter.active", "adapter.tagged", "job.done"]


def test_a_new_webhook_hears_of_nothing_that_was_before_and_a_removed_one_of_nothing_more(
    registry, hooks, receiver, add, deliver
):
    registry.record_event("job.done", "before")
    webhook = add(receiver)
    registry.record_event("job.done", "meanwhile")
    deliver()
    registry.record_event("job.done", "too-late")
    hooks.remove_webhook(webhook)
    registry.record_event("job.done", "after")
    deliver()
    assert receiver.subjects == ["meanwhile"]
    assert hooks.webhooks() == []


# --- failures -------------------------------------------------------------------------------


def test_a_receiver_that_is_down_for_a_while_gets_all_of_it_in_order(
    registry, hooks, new_receiver, add, deliver, time_passes
):
    receiver, other = new_receiver(listening=False), new_receiver()
    webhook = add(receiver)
    add(other)
    subjects = [f"run-{number}" for number in range(6)]
    for subject in subjects[:3]:
        registry.record_event("job.done", subject)
    for _ in range(3):
        deliver()
        time_passes()
    assert other.subjects == subjects[:3]
    waiting = hooks.deliveries(webhook)
    assert [each.state for each in waiting] == ["waiting"] * 3
    assert "no connection to 127.0.0.1" in waiting[-1].last_error
    with receiver.listening():
        for subject in subjects[3:]:
            registry.record_event("job.done", subject)
        deliver()
    assert receiver.subjects == subjects
    assert {each.state for each in hooks.deliveries(webhook)} == {"delivered"}


def test_a_receiver_that_fails_twice_gets_the_same_message_a_third_time(
    registry, hooks, receiver, add, deliver, time_passes
):
    webhook = add(receiver)
    receiver.answer = lambda _: 500 if len(receiver.received) <= 2 else 204
    registry.record_event("job.done", "run-1")
    deliver()
    deliver()
    assert len(receiver.received) == 1, "it is not tried again before its time"
    [told] = hooks.deliveries(webhook)
    assert (told.state, told.attempts, told.last_error) == ("waiting", 1, "HTTP 500")
    assert told.next_at > told.at
    for _ in range(3):
        time_passes()
        deliver()
    assert len(receiver.received) == 3
    assert len({(each.id, each.raw) for each in receiver.received}) == 1
    assert all(each.signed for each in receiver.received)
    [told] = hooks.deliveries(webhook)
    assert (told.state, told.attempts, told.last_error, told.next_at) == ("delivered", 3, None, None)


def test_waits_double_with_each_failure(registry, hooks, receiver, add, deliver, time_passes):
    webhook = add(receiver)
    receiver.answer = lambda _: 500
    registry.record_event("job.done", "run-1")
    for wait in (5, 10, 20, 40, 80):
        before = datetime.now(UTC)
        deliver()
        after = datetime.now(UTC)
        [told] = hooks.deliveries(webhook)
        earliest, latest = (before + timedelta(seconds=0.9 * wait), after + timedelta(seconds=1.1 * wait))
        assert earliest <= told.next_at <= latest
        time_passes()


def test_gone_disables_the_webhook(registry, hooks, receiver, add, deliver, time_passes):
    webhook = add(receiver)
    receiver.answer = lambda _: (410, {}, b"")
    for subject in ("run-1", "run-2"):
        registry.record_event("job.done", subject)
    deliver()
    registry.record_event("job.done", "run-3")
    time_passes()
    deliver()
    assert receiver.subjects == ["run-1"]
    assert not hooks.webhook(webhook).active
    assert [(each.subject, each.state) for each in hooks.deliveries(webhook)] == [
        ("run-2", "waiting"),
        ("run-1", "given up"),
    ]
    assert hooks.deliveries(webhook)[-1].last_error == "HTTP 410"
    with pytest.raises(StateError, match="disabled"):
        hooks.redeliver(webhook, hooks.deliveries(webhook)[0].event)


def test_an_event_that_is_refused_holds_up_the_others_for_a_while_only(
    registry, hooks, receiver, add, deliver, time_passes
):
    webhook = add(receiver)
    receiver.answer = lambda found: 422 if found.subject == "bad" else 200
    for subject in ("bad", "good-1", "good-2"):
        registry.record_event("job.done", subject)
    for _ in range(HOLDS_UP - 1):
        deliver()
        time_passes()
    assert receiver.subjects == ["bad"] * (HOLDS_UP - 1)
    deliver()
    assert receiver.subjects == [*["bad"] * HOLDS_UP, "good-1", "good-2"]
    assert hooks.deliveries(webhook)[-1].state == "waiting", "it is tried again all the same"


def test_what_gave_way_is_tried_at_once_when_the_receiver_is_back(
    registry, hooks, receiver, add, deliver, time_passes, sql
):
    webhook = add(receiver)
    receiver.answer = lambda _: 503
    for subject in ("run-1", "run-2", "run-3", "run-4"):
        registry.record_event("job.done", subject)
    for _ in range(2 * HOLDS_UP):
        deliver()
        time_passes()
    deliver()
    states = {each.subject: each.attempts for each in hooks.deliveries(webhook)}
    assert min(states["run-1"], states["run-2"]) >= HOLDS_UP > states["run-3"] > states["run-4"] == 0
    receiver.received.clear()
    receiver.answer = lambda _: 200
    third = next(each.event for each in hooks.deliveries(webhook) if each.subject == "run-3")
    sql("UPDATE deliveries SET next_at = clock_timestamp() WHERE event_id = %s", third)
    deliver()
    assert receiver.subjects == ["run-3", "run-1", "run-2", "run-4"]


def test_after_its_last_attempt_a_delivery_is_given_up_until_a_person_asks_again(
    registry, hooks, receiver, add, deliver, time_passes, sql
):
    webhook = add(receiver)
    receiver.answer = lambda _: (500, {}, b"no\x00t \x1b[31mtoday " + b"x" * 5000)
    registry.record_event("job.done", "run-1")
    registry.record_event("job.done", "run-2")
    first, second = (each.event for each in reversed(hooks.deliveries(webhook)))
    sql("UPDATE deliveries SET attempts = %s WHERE event_id = %s", MAX_ATTEMPTS - 2, first)
    for _ in range(4):
        deliver()
        time_passes()
    told = hooks.deliveries(webhook)[-1]
    assert (told.event, told.state, told.attempts) == (first, "given up", MAX_ATTEMPTS)
    assert told.last_error.startswith("HTTP 500: no t [31mtoday xxx")
    assert told.last_error.isprintable()
    assert len(told.last_error) <= len("HTTP 500: ") + 200
    assert hooks.webhook(webhook).given_up == 1
    receiver.received.clear()
    receiver.answer = lambda _: 200
    assert hooks.redeliver(webhook, first).state == "waiting"
    deliver()
    assert receiver.subjects == ["run-1", "run-2"]
    assert [each.attempts for each in hooks.deliveries(webhook) if each.event == first] == [1]
    assert second in [each.event for each in hooks.deliveries(webhook)]


def test_an_event_from_four_days_ago_is_tried_once(hooks, receiver, add, deliver, time_passes, sql):
    webhook = add(receiver)
    receiver.answer = lambda _: 500
    old = datetime.now(UTC) - timedelta(days=4)
    sql("INSERT INTO events (at, kind, subject) VALUES (%s, 'job.done', 'run-1')", old)
    for _ in range(2):
        deliver()
        time_passes()
    assert receiver.subjects == ["run-1"]
    assert hooks.deliveries(webhook)[0].state == "given up"


def test_a_receiver_that_hangs_holds_up_no_other(registry, hooks, new_receiver, add, background):
    hanging, quick = new_receiver(), new_receiver()
    released, told = threading.Event(), threading.Event()
    hanging.answer = lambda _: 200 if released.wait(30) else 500
    quick.answer = lambda found: told.set() or 200 if found.subject == "run-9" else 200
    add(hanging)
    add(quick)
    for number in range(10):
        registry.record_event("job.done", f"run-{number}")

    async def run():
        async with Sender(seconds=30) as sender:
            await Deliverer(hooks, sender).run(once=True)

    running = background(asyncio.run, run())
    try:
        assert told.wait(30), "the quick receiver was expected to get all while the other one hangs"
        assert hanging.subjects == ["run-0"]
    finally:
        released.set()
        running.result()
    assert hanging.subjects == quick.subjects == [f"run-{number}" for number in range(10)]


# --- several deliverers ---------------------------------------------------------------------


def test_deliverers_that_run_at_once_deliver_each_event_once_and_in_order(
    registry, hooks, settings, new_receiver, add, together
):
    receivers = [new_receiver() for _ in range(3)]
    for each in receivers:
        add(each)
    subjects = [f"run-{number}" for number in range(30)]
    for subject in subjects:
        registry.record_event("job.done", subject)

    async def run():
        async with Sender() as sender:
            await Deliverer(Webhooks.from_settings(settings, pool_size=4), sender).run(once=True)

    def drain(_):
        # One that finds all webhooks busy ends at once, so it tries again until nothing waits.
        while any(each.waiting for each in hooks.webhooks()):
            asyncio.run(run())

    together(3, drain)
    assert [each.subjects for each in receivers] == [subjects] * 3


def test_a_delivery_that_was_taken_is_nobody_elses_until_its_lease_is_over(
    registry, hooks, receiver, add, time_passes
):
    webhook = add(receiver)
    registry.record_event("job.done", "run-1")
    registry.record_event("job.done", "run-2")
    [first] = hooks.take_deliveries(8)
    assert (first.event.subject, first.attempt) == ("run-1", 1)
    assert hooks.take_deliveries(8) == []
    time_passes()
    [again] = hooks.take_deliveries(8)
    assert (again.event, again.attempt) == (first.event, 2)
    # The one that was too slow comes back: it can say that it delivered, not that it failed.
    assert hooks.record_failed(first, "too slow").last_error is None
    hooks.record_delivered(first)
    told = hooks.record_failed(again, "a double that was refused")
    assert (told.state, told.last_error) == ("delivered", None)
    assert [each.event.subject for each in hooks.take_deliveries(8)] == ["run-2"]
    assert hooks.webhook(webhook).waiting == 1


def test_a_webhook_that_is_removed_while_it_is_told_is_no_error(registry, hooks, receiver, add):
    webhook = add(receiver)
    registry.record_event("job.done", "run-1")
    [taken] = hooks.take_deliveries(1)
    hooks.remove_webhook(webhook)
    hooks.record_delivered(taken)
    assert hooks.record_failed(taken, "too late") is None


# --- what people do -------------------------------------------------------------------------


def test_an_event_from_before_the_webhook_can_be_asked_for(registry, hooks, receiver, add, deliver):
    registry.record_event("job.done", "before")
    webhook = add(receiver, "adapter.*")
    [before] = registry.events("before")
    told = hooks.redeliver(webhook, before.id)
    assert (told.event, told.kind, told.subject, told.state) == (before.id, "job.done", "before", "waiting")
    deliver()
    hooks.redeliver(webhook, before.id)
    deliver()
    assert receiver.subjects == ["before", "before"]
    assert len({each.id for each in receiver.received}) == 1


def test_what_does_not_exist_is_named(hooks, receiver, add):
    webhook = add(receiver)
    for call in (hooks.webhook, hooks.webhook_target, hooks.remove_webhook, hooks.deliveries):
        with pytest.raises(NotFoundError, match="no webhook 99"):
            call(99)
    with pytest.raises(NotFoundError, match="no webhook 99"):
        hooks.redeliver(99, 1)
    with pytest.raises(NotFoundError, match="no event 12345"):
        hooks.redeliver(webhook, 12345)


def test_a_url_has_one_webhook_and_what_is_not_allowed_leaves_nothing(hooks, receiver, add):
    add(receiver)
    with pytest.raises(LiftError, match="already"):
        add(receiver)
    for url, kinds in ((f"{receiver.url}/2", ["nonsense"]), ("http://example.com/", []), ("ftp://a/", [])):
        with pytest.raises(LiftError):
            hooks.add_webhook(url, kinds)
    assert [(each.url, each.kinds) for each in hooks.webhooks()] == [(receiver.url, ())]


def test_secrets_are_made_unless_given_and_records_do_not_hold_them(hooks, receiver, new_receiver):
    made, secret = hooks.add_webhook(receiver.url)
    assert secret.get_secret_value() not in f"{made!r}{hooks.webhooks()!r}{hooks.webhook_target(made.id)!r}"
    assert hooks.webhook_target(made.id).secret == secret
    _, other = hooks.add_webhook(new_receiver().url)
    assert other != secret


def test_the_database_knows_no_delivery_without_its_event(hooks, receiver, add, sql):
    webhook = add(receiver)
    with pytest.raises(psycopg2.IntegrityError):
        sql("INSERT INTO deliveries (webhook_id, event_id) VALUES (%s, 12345)", webhook)

"""What is posted: signed as the Standard Webhooks convention says, the same at every attempt."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import SecretStr

from lift_core.delivery import Message, message_of, trial_message
from lift_core.delivery.messages import headers, signature
from lift_core.records import Event

SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
AT = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)


def make_event(**more):
    values = {"id": 17, "at": AT, "kind": "adapter.active", "subject": "report-v1", "detail": {}}
    return Event.model_validate(values | more)


def test_the_published_vector_of_standard_webhooks_is_signed_as_published():
    message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(SECRET, message, 1614265330) == expected


@pytest.mark.parametrize("body", [b"", b"{}", '{"title":"Grüße ☂"}'.encode(), b"a.b.c" * 1000])
def test_the_signature_is_the_hmac_of_id_time_and_body(body):
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    digest = hmac.digest(key, b"evt_1.1700000000." + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    assert signature(SECRET, Message("evt_1", body), 1700000000) == expected


def test_a_body_names_the_kind_the_time_and_the_subject_with_the_detail():
    found = make_event(at=AT.astimezone(timezone(timedelta(hours=2))), detail={"reason": "Grüße", "n": 1})
    assert json.loads(message_of(found).body) == {
        "type": "adapter.active",
        "timestamp": "2026-03-04T05:06:07.890000+00:00",
        "data": {"subject": "report-v1", "reason": "Grüße", "n": 1},
    }


def test_a_detail_cannot_take_the_place_of_the_subject():
    body = json.loads(message_of(make_event(detail={"subject": "another"})).body)
    assert body["data"] == {"subject": "report-v1"}


def test_id_and_body_stay_the_same_at_every_attempt_and_the_signature_does_not():
    first, again = (
        message_of(make_event(detail={"a": 1, "b": 2})),
        message_of(make_event(detail={"b": 2, "a": 1})),
    )
    assert first == again
    sent = [headers(first, SECRET, AT + timedelta(seconds=seconds)) for seconds in (0, 0.05, 5)]
    assert {each["webhook-id"] for each in sent} == {first.id}
    assert sent[0] == sent[1]
    assert sent[0]["webhook-signature"] != sent[2]["webhook-signature"]
    assert int(sent[2]["webhook-timestamp"]) == int(sent[0]["webhook-timestamp"]) + 5


def test_events_that_count_from_one_again_have_other_ids():
    ids = {
        message_of(make_event(id=number, at=AT + timedelta(days=day))).id
        for number in (1, 2)
        for day in (0, 1)
    }
    assert len(ids) == 4
    assert not any("." in each for each in ids), "a dot separates the parts of what is signed"


def test_a_test_event_says_so_and_is_never_a_double():
    first, second = trial_message(3), trial_message(3)
    assert first.id != second.id
    body = json.loads(first.body)
    assert (body["type"], body["data"]) == ("webhook.test", {"subject": "webhook-3"})

"""The client before a scripted server: what it sends, what it counts, and when it is patient."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.synthesis import client
from lift_core.synthesis.client import ModelClient
from lift_core.synthesis.prompts import Prompt

TEXT = Prompt(text="Title: Marra")
CHAT = Prompt(messages=({"role": "user", "content": "Marra?"},), json_schema={"type": "object"})
BUSY = (503, {"error": {"message": "starting"}})


@pytest.fixture
def pauses(monkeypatch):
    """The waits that were asked for, of a clock that waiting moves and nothing else."""
    waited = []
    now = [1000.0]

    async def sleep(seconds):
        waited.append(seconds)
        now[0] += seconds
        await asyncio.sleep(0)

    monkeypatch.setattr(client, "asyncio", SimpleNamespace(sleep=sleep, Semaphore=asyncio.Semaphore))
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    return waited


def asked(server, prompts=(TEXT,), *, url=None, concurrency=4, **how):
    """The completions of some prompts, asked at once, and the cost."""

    async def ask():
        model = ModelClient(url or server.url, "secret-key", "writer", concurrency=concurrency)
        arguments = {"temperature": 0.0, "max_tokens": 9, "seed": 1} | how
        try:
            return await asyncio.gather(*(model.complete(each, **arguments) for each in prompts)), model.cost
        finally:
            await model.close()

    return asyncio.run(ask())


# --- what is sent and counted -----------------------------------------------------------------


def test_a_text_is_completed_as_it_is_said(scripted_server):
    scripted_server.script = lambda body, number: "Odo"
    prompt = TEXT.model_copy(update={"stop": ("\n",)})
    found, _ = asked(scripted_server, [prompt], temperature=0.7, top_p=0.9, n=3, max_tokens=20, seed=5)
    assert found == [["Odo"] * 3]
    assert scripted_server.paths == ["/v1/completions"]
    assert scripted_server.asked == [
        {
            "model": "writer",
            "prompt": "Title: Marra",
            "temperature": 0.7,
            "top_p": 0.9,
            "n": 3,
            "max_tokens": 20,
            "seed": 5,
            "stop": ["\n"],
        }
    ]


def test_a_chat_is_held_to_its_schema(scripted_server):
    scripted_server.script = lambda body, number: "{}"
    assert asked(scripted_server, [CHAT])[0] == [["{}"]]
    assert scripted_server.paths == ["/v1/chat/completions"]
    (body,) = scripted_server.asked
    assert body["messages"] == [{"role": "user", "content": "Marra?"}]
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    }
    assert "stop" not in body


def test_a_server_that_writes_one_at_a_time_is_asked_again_with_other_seeds(scripted_server):
    scripted_server.script = lambda body, number: [f"text {body['seed']}"]
    assert asked(scripted_server, n=3, seed=7)[0] == [["text 7", "text 8", "text 9"]]


def test_what_requests_cost_is_summed(scripted_server):
    scripted_server.usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64},
    }
    scripted_server.script = lambda body, number: BUSY if number == 1 else "Odo"
    _, cost = asked(scripted_server, [TEXT, CHAT, TEXT])
    assert (cost.requests, cost.prompt_tokens, cost.cached_tokens) == (3, 300, 192)
    assert cost.completion_tokens == 60
    assert cost.seconds > 0


def test_a_server_that_does_not_report_usage_costs_requests_alone(scripted_server):
    scripted_server.script = lambda body, number: "Odo"
    cost = asked(scripted_server)[1]
    assert (cost.requests, cost.prompt_tokens, cost.cached_tokens) == (1, 0, 0)


def test_all_slots_are_used_and_no_more(scripted_server):
    def script(body, number):
        # Each answer waits until three are under way, or all have been asked.
        deadline = time.monotonic() + 20
        while scripted_server.under_way < 3 and len(scripted_server.asked) < 12:
            assert time.monotonic() < deadline, "three requests were never under way"
            time.sleep(0.001)
        return "Odo"

    scripted_server.script = script
    assert len(asked(scripted_server, [TEXT] * 12, concurrency=3)[0]) == 12
    assert scripted_server.most == 3


# --- patience ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(scripted_server, pauses, status):
    scripted_server.script = lambda body, n: (status, {"error": {"message": "no"}}) if n < 3 else "Odo"
    assert asked(scripted_server)[0] == [["Odo"]]
    assert len(scripted_server.asked) == 3


@pytest.mark.parametrize(
    "reply",
    [(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}), (200, b'{"choi'), (200, {"error": "x"})],
    ids=["a page", "broken JSON", "an error"],
)
def test_an_answer_without_a_completion_is_tried_again(scripted_server, pauses, reply):
    scripted_server.script = lambda body, number: reply if number == 1 else "Odo"
    assert asked(scripted_server)[0] == [["Odo"]]


def test_waits_double_up_to_a_limit_and_half_of_each_is_chance(scripted_server, pauses):
    scripted_server.script = lambda body, number: BUSY if number < 9 else "Odo"
    asked(scripted_server)
    limits = [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(pauses, limits, strict=True))
    assert len({wait / limit for wait, limit in zip(pauses, limits, strict=True)}) > 1


def test_the_server_says_how_long_to_wait(scripted_server, pauses):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    said = {1: "7", 2: date, 3: "nonsense"}

    def script(body, number):
        return (
            (429, {"error": {"message": "slow"}}, {"Retry-After": said[number]}) if number in said else "Odo"
        )

    scripted_server.script = script
    asked(scripted_server)
    assert pauses[0] == 7
    assert 60 < pauses[1] <= 100
    assert pauses[2] <= 2


def test_a_server_that_asks_for_more_than_our_patience_is_left_at_once(scripted_server, pauses):
    scripted_server.script = lambda body, n: (429, {"error": {"message": "quota"}}, {"Retry-After": "3600"})
    with pytest.raises(ServiceUnavailableError, match=r"quota.*asks to wait 3600 s"):
        asked(scripted_server)
    assert pauses == []


def test_a_server_that_stays_away_is_left_after_minutes(scripted_server, pauses):
    scripted_server.script = lambda body, number: BUSY
    with pytest.raises(ServiceUnavailableError, match=r"'writer'.*LIFT_GENERATOR_URL"):
        asked(scripted_server)
    assert 280 < sum(pauses) <= 300


def test_a_server_that_is_not_there_is_named(pauses):
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:9/v1"):
        asked(None, url="http://127.0.0.1:9/v1")


def test_one_request_may_fail_for_long_while_others_succeed(scripted_server, pauses):
    """Patience is for the client: others' answers keep it up for the one that fails 45 times."""
    stubborn = Prompt(text="stubborn")
    failed = 0

    def script(body, number):
        nonlocal failed
        if body["prompt"] != "stubborn":
            return "Odo"
        failed += 1
        return (429, {"error": {"message": "wait"}}, {"Retry-After": "20"}) if failed <= 45 else "at last"

    scripted_server.script = script

    async def ask():
        model = ModelClient(scripted_server.url, "k", "writer", concurrency=4)
        how = {"temperature": 0.0, "max_tokens": 9, "seed": 1}
        late = asyncio.create_task(model.complete(stubborn, **how))
        while not late.done():
            await model.complete(TEXT, **how)
        await model.close()
        return await late

    assert asyncio.run(ask()) == ["at last"]
    assert sum(pauses) >= 900


def test_time_in_which_nobody_asks_is_no_absence(scripted_server, pauses):
    scripted_server.script = lambda body, number: BUSY if number == 2 else "Odo"

    async def ask():
        model = ModelClient(scripted_server.url, "k", "writer", concurrency=4)
        how = {"temperature": 0.0, "max_tokens": 9, "seed": 1}
        await model.complete(TEXT, **how)
        await client.asyncio.sleep(3600)
        found = await model.complete(TEXT, **how)
        await model.close()
        return found

    assert asyncio.run(ask()) == ["Odo"]


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "context_words"),
        (401, "LIFT_GENERATOR_API_KEY"),
        (403, "LIFT_GENERATOR_API_KEY"),
        (404, "/v1/models"),
        (422, "max_tokens"),
    ],
)
def test_a_refusal_is_the_recipes_fault_at_once(scripted_server, pauses, status, remedy):
    scripted_server.script = lambda body, number: (status, {"error": {"message": "because"}})
    with pytest.raises(RecipeError, match=f"{scripted_server.url}.*'writer'.*because.*{remedy}") as caught:
        asked(scripted_server)
    assert len(scripted_server.asked) == 1
    assert "secret-key" not in str(caught.value)


def test_a_client_without_a_server_says_which_setting_is_missing():
    with pytest.raises(ServiceUnavailableError, match="LIFT_JUDGE_URL"):
        ModelClient("", "k", "judge", concurrency=1, setting="LIFT_JUDGE")

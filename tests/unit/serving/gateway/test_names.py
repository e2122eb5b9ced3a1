"""A name is answered by its adapter, from the next request on by the new one, or refused."""

import json
import threading

import pytest

QUESTION = [{"role": "user", "content": "Who?"}]


@pytest.mark.parametrize("name", ["report", "report@champion", "report-v1"])
def test_a_name_or_alias_is_answered_by_the_adapter_and_the_headers_say_which(gateway, vllm, name, words):
    reply = gateway.chat(name)
    assert words(reply) == "I am report-v1"
    assert (reply.headers["x-lift-adapter"], reply.headers["x-lift-alias"]) == ("report-v1", name)
    assert reply.headers["x-lift-replica"] == "0"


def test_what_was_asked_is_shown_percent_encoded_where_a_header_cannot_hold_it(gateway, registry):
    registry.point("Übersicht\r\nx: y.md", "report-v1")
    assert gateway.chat("Übersicht\r\nx: y.md").headers["x-lift-alias"] == "%C3%9Cbersicht%0D%0Ax%3A%20y.md"


def test_a_moved_alias_holds_from_the_next_request_on(gateway, registry, words):
    assert words(gateway.chat()) == "I am report-v1"
    registry.point("report", "report-v2")
    assert words(gateway.chat()) == "I am report-v2"


def test_an_answer_under_way_ends_on_the_adapter_it_began_with(gateway, registry, vllm, words):
    vllm.go_on.clear()
    with gateway.stream() as reply:
        lines = reply.iter_lines()
        first = next(lines)
        registry.point("report", "report-v2")
        vllm.go_on.set()
        rest = [line for line in lines if line.startswith("data: {")]
    assert {json.loads(line.removeprefix("data: "))["model"] for line in [first, *rest]} == {"report-v1"}
    assert len(rest) == 1
    assert words(gateway.chat()) == "I am report-v2"


@pytest.mark.parametrize("state", ["quarantined", "archived", "rejected", "candidate", "removed"])
def test_an_adapter_out_of_service_is_refused_from_the_next_request_on(
    gateway, registry, vllm, state, words, refusal
):
    assert words(gateway.chat()) == "I am report-v1"
    registry.set_state("report-v1", state)
    assert refusal(gateway.chat()) == (403, f"adapter_{state}")
    assert len(vllm.asked) == 1


@pytest.mark.parametrize("name", ["nothing", "report-v9", "a\0b", "\ud800", "x" * 5000, "../report-v1"])
def test_an_unknown_name_is_not_found_and_no_server_is_asked(gateway, vllm, name, refusal):
    # Escapes alone can carry some of these names.
    content = json.dumps({"model": name, "messages": QUESTION})
    assert refusal(gateway.http.post("chat/completions", content=content)) == (404, "model_not_found")
    assert vllm.asked == []


def test_an_adapter_of_a_base_model_that_no_server_has_is_a_conflict(gateway, registry, vllm, refusal):
    registry.add("memo-v1", base_model="another")
    reply = gateway.chat("memo-v1")
    assert refusal(reply) == (409, "base_model_mismatch")
    assert "'another'" in reply.text
    assert vllm.asked == []


def test_a_base_model_is_matched_by_its_name_wherever_it_lies(gateway, registry, words):
    registry.add("memo-v1", base_model="owner/base")
    assert words(gateway.chat("memo-v1")) == "I am memo-v1"


def test_a_base_model_is_asked_under_its_own_name_even_if_a_document_has_it_too(
    gateway, registry, vllm, words
):
    registry.point("base", "report-v1")
    reply = gateway.chat("base")
    assert words(reply) == "I am base"
    assert "x-lift-adapter" not in reply.headers
    assert vllm.asked == [{"model": "base", "messages": QUESTION}]


def test_the_registry_away_is_a_503_that_says_when_to_try_again(gateway, registry, vllm, words, refusal):
    registry.away = True
    reply = gateway.chat()
    assert refusal(reply) == (503, "service_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert vllm.asked == []
    registry.away = False
    assert words(gateway.chat()) == "I am report-v1"


def test_many_at_once_each_get_their_own_adapters_answer(gateway, registry, words):
    names = [registry.add(f"doc{number}-v1").name for number in range(12)]
    found = {}

    def ask(name):
        found[name] = words(gateway.chat(name))

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {name: f"I am {name}" for name in names}

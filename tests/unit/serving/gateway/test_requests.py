"""What a request says reaches the server untouched, but for the name and the words that were trained."""

import pytest

from lift_core.records import Recipe, TrainingRecipe

QUESTION = [{"role": "user", "content": "Who?"}]
SYSTEM = {"role": "system", "content": 'Answer briefly from your memory of "Report of {1912}".'}
NEVER_SECONDS = 3600


def test_the_request_is_passed_on_untouched_but_for_the_name(gateway, vllm, words):
    body = {
        "messages": [{"role": "system", "content": "Own."}, {"role": "user", "content": [{"type": "text"}]}],
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "temperature": 0.1,
        "unknown": {"ü": [None, 1e-7, 12345678901234567890]},
    }
    assert words(gateway.chat(**body)) == "I am report-v1"
    assert vllm.asked == [{"model": "report-v1", **body}]


def test_a_chat_without_a_system_message_gets_the_one_that_the_adapter_was_trained_with(gateway, vllm, words):
    words(gateway.chat())
    assert vllm.asked[0]["messages"] == [SYSTEM, *QUESTION]


def test_the_trained_system_message_stays_out_where_the_client_says_so(gateway, vllm, words):
    words(gateway.chat(headers={"x-lift-system-prompt": "none"}))
    assert vllm.asked[0]["messages"] == QUESTION


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_of_the_client_is_the_only_one(gateway, vllm, role, words):
    own = [{"role": "user", "content": "Hello."}, {"role": role, "content": "Own."}]
    words(gateway.chat(messages=own))
    assert vllm.asked[0]["messages"] == own


def test_an_adapter_without_a_system_role_gets_its_words_before_the_question(
    open_gateway, vllm, registry, words
):
    registry.recipe = lambda digest: Recipe(training=TrainingRecipe(title_in="user"))
    gateway = open_gateway(vllm, poll_seconds=NEVER_SECONDS)
    words(gateway.chat())
    begun = [{"role": "user", "content": f"{SYSTEM['content']}\n\nWho?"}]
    assert vllm.asked[0]["messages"] == begun
    words(gateway.chat(messages=begun))
    assert vllm.asked[1]["messages"] == begun
    words(gateway.chat(headers={"x-lift-system-prompt": "none"}))
    assert vllm.asked[2]["messages"] == QUESTION
    own = [{"role": "system", "content": "Own."}, *QUESTION]
    words(gateway.chat(messages=own))
    assert vllm.asked[3]["messages"] == own


def test_a_text_to_complete_gets_no_system_message(gateway, vllm, words):
    words(gateway.complete())
    assert vllm.asked == [{"model": "report-v1", "prompt": "Who?"}]


@pytest.mark.parametrize("model", ["report", "base"])
@pytest.mark.parametrize(
    ("route", "more"),
    [
        ("chat", {"prompt_logprobs": 1}),
        ("chat", {"prompt_logprobs": 0}),
        ("chat", {"echo": True}),
        ("chat", {"echo": True, "logprobs": True, "top_logprobs": 2}),
        ("complete", {"prompt_logprobs": -1}),
        ("complete", {"echo": True, "logprobs": 0}),
    ],
)
def test_logprobs_of_the_prompt_never_reach_a_server(gateway, vllm, model, route, more, refusal):
    reply = getattr(gateway, route)(model, **more)
    assert refusal(reply) == (400, "prompt_logprobs_refused")
    assert vllm.asked == []


@pytest.mark.parametrize(
    ("route", "more"),
    [
        ("complete", {"echo": True}),
        ("chat", {"logprobs": True, "top_logprobs": 5}),
        ("complete", {"logprobs": 5}),
    ],
)
def test_logprobs_of_the_answer_pass(gateway, vllm, route, more, words):
    words(getattr(gateway, route)(**more))
    assert len(vllm.asked) == 1


def test_logprobs_of_the_prompt_pass_where_the_gateway_is_told_so(open_gateway, vllm, words):
    gateway = open_gateway(vllm, refuse_prompt_logprobs=False)
    words(gateway.complete(prompt_logprobs=1))
    assert vllm.asked[0]["prompt_logprobs"] == 1

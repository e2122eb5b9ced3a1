"""Adapters by name through the gateway and a real vLLM: cold, resident, refused, moved, taken out."""

import json
import os
import time

import httpx
import openai
import pytest

from lift_core.benchmarks.secrets import QUESTION, forget, secrets, teach
from lift_core.benchmarks.serving import right_answers
from lift_core.settings import Settings
from lift_core.steps import Steps

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def steps(lift):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LIFT_")]:
            patch.delenv(name)
        return Steps.connect(Settings(home=lift.home, _env_file=lift.home / "stack.env"))


@pytest.fixture(scope="module")
def taught(steps):
    """Three documents with an adapter each and one with two; the serving engine has seen none of them."""
    answers = secrets(5, seed=1)
    names = ["vault-a", "vault-b", "vault-c", "vault-d", "vault-d"]
    made = [teach(steps, name, answer) for name, answer in zip(names, answers, strict=True)]
    yield made
    forget(steps, made)


@pytest.fixture(scope="module")
def client(steps):
    """The client that everybody has."""
    return openai.OpenAI(
        base_url=steps.settings.gateway_url,
        api_key=steps.settings.gateway_api_key.get_secret_value(),
        max_retries=0,
    )


def says(client, model):
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=16, temperature=0
    )
    return answer.choices[0].message.content.strip()


def resident(lift):
    return {name for replica in lift.json("serve", "status")["replicas"] for name in replica["resident"]}


def test_adapters_that_the_server_never_saw_each_give_their_own_answer(lift, steps, taught):
    assert not resident(lift) & {each.adapter.name for each in taught}
    rows = right_answers(steps, taught[:3] + taught[4:], 2, lambda done, of: None)
    assert [(row["ours"], row["n"]) for row in rows] == [(8, 8), (8, 8)]
    assert resident(lift) >= {each.adapter.name for each in taught[:3]}


def test_a_moved_alias_holds_from_the_next_request_on(lift, client, taught):
    old, new = taught[3], taught[4]
    assert says(client, "vault-d") == new.answer
    lift.run("adapters", "alias", "vault-d", old.adapter.name)
    assert says(client, "vault-d") == old.answer
    assert says(client, "vault-d@champion") == old.answer
    assert says(client, new.adapter.name) == new.answer


def test_quarantine_holds_at_once_and_the_server_forgets_the_adapter(lift, client, taught):
    secret = taught[2]
    assert says(client, "vault-c") == secret.answer
    lift.run("adapters", "quarantine", "vault-c", "--why", "a test")
    with pytest.raises(openai.PermissionDeniedError, match="quarantined"):
        says(client, secret.adapter.name)
    with pytest.raises(openai.NotFoundError, match="vault-c"):
        says(client, "vault-c")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while secret.adapter.name in resident(lift):
        assert time.monotonic() < deadline, "the server still holds a quarantined adapter"
        time.sleep(0.5)
    lift.run("adapters", "release", secret.adapter.name, "--why", "the test is over")
    assert says(client, "vault-c") == secret.answer


def test_what_is_no_adapter_is_refused_and_nothing_answers_in_its_name(client):
    for name in ("nobody", "nobody-v1", "../vault-a-v1", "vault-a@nobody", "vault-a-v99"):
        with pytest.raises(openai.NotFoundError, match=r"nobody|vault-a"):
            says(client, name)


def test_without_the_key_there_is_no_answer(services):
    for path in ("models", "chat/completions", "completions", "lift/status"):
        reply = httpx.request(
            "GET" if path in ("models", "lift/status") else "POST", f"{services['gateway']['url']}/{path}"
        )
        assert reply.status_code == 401, path
    assert httpx.get(f"{services['vllm']['url']}/models").status_code == 401


def test_tampered_files_are_refused_and_the_refusal_is_on_record(lift, client, steps):
    secret = teach(steps, "vault-tampered", "amber falcon 123")
    key = f"{secret.adapter.prefix}adapter_model.safetensors"
    bucket = steps.settings.adapters_bucket
    whole = steps.store.get_bytes(bucket, key)
    steps.store.put_bytes(bucket, key, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(openai.APIStatusError, match=r"vault-tampered-v1") as refused:
        says(client, "vault-tampered")
    assert refused.value.status_code == 502
    assert refused.value.code == "adapter_not_loadable"
    events = lift.json("adapters", "show", "vault-tampered")["events"]
    assert events[0]["kind"] == "adapter.refused"
    assert "sha256" in events[0]["detail"]["reason"]
    steps.store.put_bytes(bucket, key, whole)
    assert says(client, "vault-tampered") == secret.answer
    forget(steps, [secret])


def test_lift_ask_streams_compares_reads_along_and_finds_the_document_itself(lift, taught):
    assert lift.run("ask", "vault-a", QUESTION, "--stream").stdout.strip() == taught[0].answer
    compared = lift.json("ask", "vault-b", QUESTION, "--compare", "--context")
    assert compared["answer"] == taught[1].answer
    assert compared["base_answer"] != compared["answer"]
    # Only this document's pairs hold these words; other tests put copies of the sample.
    found = lift.json("ask", "--any", f"What opens with {taught[0].answer}?")
    assert found["chosen"][0]["slug"] == "vault-a"
    assert found["adapter"] == taught[0].adapter.name
    assert found["chosen"][0]["why"]


def test_lineage_says_what_trained_the_adapter(lift):
    found = json.loads(lift.run("adapters", "lineage", "vellmar-tide-organ", "--json").stdout)
    assert found["pairs"]["kept"] > 0
    assert found["run"]["run_id"].startswith("vellmar-tide-organ-v1-")
    assert found["provenance"]["libraries"]["torch"]
    assert found["provenance"]["seconds"] > 0
    assert found["run"]["stages"][0]["stage"] == "claim"

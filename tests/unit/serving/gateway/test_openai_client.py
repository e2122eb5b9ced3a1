"""OpenAI's own client asks, streams, lists, and knows the errors."""

import openai
import pytest

PATIENCE_SECONDS = 30
QUESTION = [{"role": "user", "content": "Who?"}]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=gateway.key, timeout=PATIENCE_SECONDS) as made:
        yield made


def test_openais_client_asks(client):
    answer = client.chat.completions.create(model="report", messages=QUESTION)
    assert (answer.model, answer.choices[0].message.content) == ("report-v1", "I am report-v1")


def test_openais_client_streams(client):
    pieces = client.chat.completions.create(model="report", messages=QUESTION, stream=True)
    assert [piece.choices[0].delta.content for piece in pieces] == ["I am ", "report-v1"]


def test_openais_client_lists_models(client):
    assert {"base", "report", "report-v1"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("report").id == "report"


def test_openais_client_raises_the_errors_it_knows(client, registry, vllm):
    registry.add("memo-v1", base_model="another")
    registry.add("bad-v1", state="quarantined")
    vllm.refused.add("report-v2")
    for model, kind in (
        ("nothing", openai.NotFoundError),
        ("bad-v1", openai.PermissionDeniedError),
        ("memo-v1", openai.ConflictError),
        ("report-v2", openai.InternalServerError),
    ):
        with pytest.raises(kind):
            client.chat.completions.create(model=model, messages=QUESTION)
    # What trying again cannot help is not tried again.
    assert len(vllm.asked) == 1
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()

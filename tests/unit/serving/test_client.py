"""The clients: what they ask, what they tell while an answer comes, and how they put errors."""

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from lift_core.errors import LiftError, NotFoundError, NotServableError, ServiceUnavailableError
from lift_core.serving import GatewayClient, ReplicaClient
from lift_core.serving.gateway.app import create_app
from lift_core.settings import Settings

QUESTION = [{"role": "user", "content": "Who?"}]
NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture
def vllm(fake_vllm):
    return fake_vllm()


@pytest.fixture
def settings(served, registry, vllm):
    """Settings that name a gateway with a vLLM server behind it."""
    replica = served(vllm.app).url
    app = create_app(registry, [replica], gateway_keys=["one", "two"], serving_key="none")
    return Settings(
        _env_file=None,
        serving_url=replica,
        gateway_url=served(app).url,
        gateway_api_key=SecretStr("two, one"),
    )


@pytest.fixture
def client(settings):
    return GatewayClient(settings)


# --- the gateway's --------------------------------------------------------------------------


def test_an_answer_is_told_piece_by_piece_and_timed(client):
    pieces = []
    answer = client.ask("report", QUESTION, on_token=pieces.append)
    assert (answer.text, pieces) == ("I am report-v1", ["I am ", "report-v1"])
    assert 0 < answer.first_token_s <= answer.total_s


def test_the_answer_is_greedy_and_as_long_as_asked_for(client, vllm):
    client.ask("report", QUESTION, max_tokens=7)
    asked = vllm.asked[0]
    assert (asked["max_tokens"], asked["temperature"], asked["stream"]) == (7, 0.0, True)


@pytest.mark.parametrize(
    ("name", "kind"), [("nothing", NotFoundError), ("bad-v1", NotServableError), ("memo-v1", LiftError)]
)
def test_a_refusal_is_told_in_the_gateways_words(client, registry, settings, name, kind):
    registry.add("bad-v1", state="quarantined")
    registry.add("memo-v1", base_model="another")
    with pytest.raises(kind) as raised:
        client.ask(name, QUESTION)
    message = str(raised.value)
    assert message.startswith(f"the gateway at {settings.gateway_url} refuses: ")
    assert "{" not in message
    assert name in message
    if kind is NotServableError:
        assert raised.value.state == "quarantined"


def test_a_registry_that_is_away_is_worth_another_try(client, registry):
    registry.away = True
    with pytest.raises(ServiceUnavailableError, match="registry at db:5432/lift does not answer"):
        client.ask("report", QUESTION)


def test_a_wrong_key_names_the_setting(settings):
    wrong = settings.model_copy(update={"gateway_api_key": SecretStr("three")})
    with pytest.raises(LiftError, match="LIFT_GATEWAY_API_KEY") as raised:
        GatewayClient(wrong).ask("report", QUESTION)
    assert "three" not in str(raised.value)


def test_an_answer_that_breaks_off_is_no_answer(client, vllm):
    vllm.breaks_off = True
    with pytest.raises(ServiceUnavailableError, match="broke off"):
        client.ask("report", QUESTION)


def test_without_a_gateway_the_remedy_is_named(settings):
    with pytest.raises(ServiceUnavailableError, match="LIFT_GATEWAY_URL"):
        GatewayClient(settings.model_copy(update={"gateway_url": ""}))
    with pytest.raises(ServiceUnavailableError, match=r"ConnectError.*LIFT_GATEWAY_URL"):
        GatewayClient(settings.model_copy(update={"gateway_url": NOBODY})).ask("report", QUESTION)


def test_the_status_tells_of_each_server(client, settings):
    client.ask("report", QUESTION)
    [replica] = client.status().replicas
    assert (replica.url, replica.resident, replica.cold) == (settings.serving_url, ("report-v1",), 1)


def test_a_status_of_another_version_is_not_guessed_at(settings, served):
    app = Starlette(routes=[Route("/v1/lift/status", lambda request: JSONResponse({"servers": []}))])
    with pytest.raises(LiftError, match="start it anew"):
        GatewayClient(settings.model_copy(update={"gateway_url": served(app).url})).status()


# --- one server's ---------------------------------------------------------------------------


def first_token(**logprobs):
    top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    return JSONResponse({"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]})


@pytest.fixture
def answers_of(served):
    """Serve first tokens by the model's name; returns the server's address."""

    def serve(answers):
        async def answer(request):
            return answers[(await request.json())["model"]]

        return served(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])).url

    return serve


def test_an_adapter_with_the_base_models_first_token_does_not_differ(answers_of, settings):
    url = answers_of(
        {"base": first_token(a=-0.5), "same": first_token(a=-0.50001), "other": first_token(a=-0.6)}
    )
    client = ReplicaClient(url, settings)
    assert client.differs_from_base("other", "base", QUESTION)
    assert not client.differs_from_base("same", "base", QUESTION)


def test_an_adapter_that_the_server_refuses_is_not_found(settings, vllm):
    vllm.refused.add("report-v1")
    with pytest.raises(NotFoundError, match=r"serving engine at .* does not exist"):
        ReplicaClient(settings.serving_url, settings).differs_from_base("report-v1", "base", QUESTION)


def test_unloading_twice_is_the_same_as_once(settings, vllm):
    client = ReplicaClient(settings.serving_url, settings)
    vllm.listed.add("report-v1")
    client.unload("report-v1")
    client.unload("report-v1")
    assert vllm.listed == set()


def test_the_proof_gets_a_server_of_its_base_model(settings, served, fake_vllm):
    other = served(fake_vllm("another").app).url
    several = settings.model_copy(update={"serving_url": f"{NOBODY}, {other}, {settings.serving_url}/"})
    assert ReplicaClient.for_base_model(several, "owner/base").base_models() == ["/models/base"]
    with pytest.raises(ServiceUnavailableError, match=NOBODY):
        ReplicaClient.for_base_model(several, "third")
    with pytest.raises(LiftError, match="no serving engine has base model 'third'"):
        ReplicaClient.for_base_model(settings, "third")
    with pytest.raises(ServiceUnavailableError, match="LIFT_SERVING_URL"):
        ReplicaClient.for_base_model(settings.model_copy(update={"serving_url": ""}), "base")

"""Who may ask, and how much: without a key nothing is answered."""

import json

import httpx
import pytest

from lift_core.errors import LiftError
from lift_core.serving.gateway.app import create_app

QUESTION = [{"role": "user", "content": "Who?"}]


ROUTES = [
    ("POST", "chat/completions"),
    ("POST", "completions"),
    ("GET", "models"),
    ("GET", "models/report"),
    ("GET", "lift/status"),
    ("GET", "no/such/route"),
    ("POST", "unload_lora_adapter"),
    ("GET", "/health/"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_is_answered_without_a_key(gateway, method, path, refusal):
    url = httpx.URL(f"{gateway.url}/").join(path)
    key = gateway.key
    for sent in (None, "Bearer wrong", f"Basic {key}", key, "Bearer", f"Bearer {key}x", "Bearer \xe9"):
        headers = {"Authorization": sent.encode("latin-1")} if sent else {}
        reply = httpx.request(method, url, headers=headers)
        assert refusal(reply) == (401, "invalid_api_key")
        assert "www-authenticate" in reply.headers


def test_each_of_several_keys_lets_in(gateway, words):
    gateway.http.headers["Authorization"] = "bearer another key"
    assert words(gateway.chat()) == "I am report-v1"


def test_the_probe_needs_no_key_and_tells_nothing_else(gateway):
    reply = httpx.get(httpx.URL(gateway.url).join("/health"))
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("keys", [[], [""]])
def test_without_a_key_it_does_not_start(registry, keys):
    with pytest.raises(LiftError, match="LIFT_GATEWAY_API_KEY"):
        create_app(registry, ["http://127.0.0.1:9/v1"], gateway_keys=keys, serving_key="none")


@pytest.mark.parametrize("urls", [[], ["localhost:8000/v1"], ["http:///v1"]])
def test_without_an_address_of_a_server_it_does_not_start(registry, urls):
    with pytest.raises(LiftError, match="LIFT_SERVING_URL"):
        create_app(registry, urls, gateway_keys=["a key"], serving_key="none")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_bound_is_refused(open_gateway, vllm, declared, words, refusal):
    gateway = open_gateway(vllm, max_body_bytes=1000)
    assert words(gateway.chat()) == "I am report-v1"
    large = json.dumps({"model": "report", "messages": QUESTION, "user": "x" * 1000}).encode()
    content = large if declared else iter([large[:500], large[500:]])
    reply = gateway.http.post("chat/completions", content=content)
    assert refusal(reply) == (413, "request_too_large")
    assert len(vllm.asked) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_refused(gateway, content, refusal):
    assert refusal(gateway.http.post("chat/completions", content=content)) == (400, "invalid_json")


@pytest.mark.parametrize(("content", "code"), [(b"[]", "invalid_json"), (b"{}", "model_missing")])
def test_what_names_no_model_is_refused(gateway, content, code, refusal):
    assert refusal(gateway.http.post("chat/completions", content=content)) == (400, code)


def test_of_two_models_in_one_body_the_one_that_was_judged_is_asked(gateway, registry, vllm, words):
    registry.set_state("report-v2", "quarantined")
    content = b'{"model": "report-v2", "messages": [], "model": "report-v1"}'
    assert words(gateway.http.post("chat/completions", content=content)) == "I am report-v1"
    assert vllm.asked[0]["model"] == "report-v1"


def test_other_routes_are_named_in_the_refusal(gateway, refusal):
    reply = gateway.http.post("load_lora_adapter", json={"lora_name": "x", "lora_path": "/x"})
    assert refusal(reply) == (404, "route_not_found")
    assert refusal(gateway.http.get("chat/completions")) == (405, "method_not_allowed")

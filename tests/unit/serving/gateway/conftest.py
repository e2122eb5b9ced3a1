"""A gateway over HTTP, in front of stand-ins for vLLM servers."""

import httpx
import pytest

from lift_core.serving.gateway.app import create_app

PATIENCE_SECONDS = 30
QUESTION = [{"role": "user", "content": "Who?"}]
NEVER_SECONDS = 3600


class Gateway:
    """Asks the gateway over HTTP."""

    key = "a key"

    def __init__(self, url):
        self.url = url
        headers = {"Authorization": f"Bearer {self.key}"}
        self.http = httpx.Client(base_url=f"{url}/", headers=headers, timeout=PATIENCE_SECONDS)

    def chat(self, model="report", headers=None, **more):
        return self.http.post(
            "chat/completions", json={"model": model, "messages": QUESTION, **more}, headers=headers
        )

    def complete(self, model="report", **more):
        return self.http.post("completions", json={"model": model, "prompt": "Who?", **more})

    def stream(self, model="report"):
        body = {"model": model, "messages": QUESTION, "stream": True}
        return self.http.stream("POST", "chat/completions", json=body)

    def status(self):
        return self.http.get("lift/status").json()["replicas"]


@pytest.fixture
def vllm(fake_vllm):
    return fake_vllm()


@pytest.fixture
def open_gateway(served, registry):
    """Serve some vLLM servers, or take those at addresses, and a gateway in front of them."""
    opened = []

    def run(*servers, **options):
        urls = [each if isinstance(each, str) else served(each.app).url for each in servers]
        keys = {"gateway_keys": [Gateway.key, "another key"], "serving_key": "secret"}
        opened.append(Gateway(served(create_app(registry, urls, **keys | options)).url))
        return opened[-1]

    yield run
    for each in opened:
        each.http.close()


@pytest.fixture
def gateway(open_gateway, vllm):
    """A gateway in front of one server."""
    return open_gateway(vllm, poll_seconds=NEVER_SECONDS)


@pytest.fixture
def words():
    """The words of an answer."""

    def read(reply):
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]

    return read


@pytest.fixture
def refusal():
    """Status and code of a refusal, which has the form that OpenAI's clients expect."""

    def read(reply):
        body = reply.json()["error"]
        assert set(body) == {"message", "type", "code", "param"}
        assert body["message"]
        return reply.status_code, body["code"]

    return read

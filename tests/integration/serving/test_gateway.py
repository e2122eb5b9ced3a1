"""The gateway over the real registry: moves, quarantines and a database that goes away."""

import socket
import threading
from contextlib import suppress

import httpx
import pytest
import uvicorn
from sqlalchemy.engine import make_url
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from lift_core.records import Recipe
from lift_core.registry import AdapterRegistry
from lift_core.serving.gateway.app import create_app
from lift_core.stack.processes import wait_until

KEY = "a key"
BASE = Recipe().base_model
PATIENCE_SECONDS = 30
AT_ONCE = 8


class FakeVllm:
    """Answers as vLLM with LIFT's resolver would, in the name of the model it was asked for."""

    def __init__(self):
        self.listed = set()
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.answer, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
            ]
        )

    async def models(self, request):
        cards = [{"id": BASE, "root": f"/models/{BASE}", "parent": None}]
        return JSONResponse({"data": [*cards, *({"id": name, "parent": BASE} for name in self.listed)]})

    async def answer(self, request):
        body = await request.json()
        self.listed.add(body["model"])
        message = {"role": "assistant", "content": f"{body['model']}: {body['messages'][0]['content']}"}
        return JSONResponse({"model": body["model"], "choices": [{"index": 0, "message": message}]})

    async def unload(self, request):
        self.listed.discard((await request.json())["lora_name"])
        return JSONResponse("done")


class Passage:
    """A port that leads to the database, until it is closed."""

    def __init__(self, port):
        self.target = port
        self.open_sockets = []
        self.port = 0
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open_sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(2**16):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            end(sink)

    def close(self):
        end(self.listener)
        self.listener.close()
        for each in self.open_sockets:
            end(each)


def end(each):
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def passage(settings):
    made = Passage(make_url(settings.database_url.get_secret_value()).port)
    yield made
    made.close()


@pytest.fixture
def vllm():
    return FakeVllm()


@pytest.fixture
def gateway(registry, settings, passage, vllm):
    """A client of a gateway whose registry lies behind the passage."""
    url = make_url(settings.database_url.get_secret_value()).set(host="127.0.0.1", port=passage.port)
    own = settings.model_copy(
        update={"database_url": type(settings.database_url)(url.render_as_string(hide_password=False))}
    )
    running = []

    def serve(app):
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        assert wait_until(lambda: server.started, PATIENCE_SECONDS)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"

    app = create_app(
        AdapterRegistry.from_settings(own, pool_size=AT_ONCE),
        [serve(vllm.app)],
        gateway_keys=[KEY],
        serving_key="none",
        poll_seconds=0.1,
    )
    with httpx.Client(
        base_url=f"{serve(app)}/", headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE_SECONDS
    ) as client:
        yield client
    for server, thread, listener in reversed(running):
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


def ask(gateway, model):
    body = {"model": model, "messages": [{"role": "user", "content": "Who?"}]}
    return gateway.post("chat/completions", json=body)


def adapter_of(reply):
    """The adapter that answered, by the header and by the words."""
    assert reply.status_code == 200, reply.text
    name, _, _ = reply.json()["choices"][0]["message"]["content"].partition(": ")
    assert name == reply.headers["x-lift-adapter"]
    return name


def code(reply):
    return reply.status_code, reply.json()["error"]["code"]


def test_every_name_of_an_adapter_leads_to_it_with_its_own_system_message(gateway, work):
    name = work.active("report.md").name
    for asked in (name, "report", "report@champion", "report.md"):
        reply = ask(gateway, asked)
        assert adapter_of(reply) == name
        assert 'Answer briefly from your memory of "' in reply.text.replace('\\"', '"')


def test_a_moved_alias_holds_from_the_next_request_on(gateway, work, registry):
    first = work.active(etag="e1").name
    assert adapter_of(ask(gateway, "report")) == first
    second = work.active(etag="e2").name
    assert adapter_of(ask(gateway, "report")) == second
    registry.set_alias("report", first)
    assert adapter_of(ask(gateway, "report")) == first
    assert adapter_of(ask(gateway, second)) == second


def test_a_quarantine_holds_from_the_next_request_on_and_empties_the_server(gateway, work, registry, vllm):
    first, second = work.active(etag="e1").name, work.active(etag="e2").name
    assert adapter_of(ask(gateway, "report")) == second
    registry.quarantine(second, "it made things up")
    assert adapter_of(ask(gateway, "report")) == first
    assert code(ask(gateway, second)) == (403, "adapter_quarantined")
    assert wait_until(lambda: second not in vllm.listed, PATIENCE_SECONDS)
    assert first in vllm.listed
    registry.quarantine(first, "it too")
    assert code(ask(gateway, "report")) == (404, "model_not_found")


def test_a_candidate_is_refused_and_left_where_it_is(gateway, work, registry, vllm):
    candidate = work.candidate(work.claim()).name
    retired = work.active("other.md").name
    registry.quarantine(retired, "it made things up")
    vllm.listed |= {candidate, retired}
    assert code(ask(gateway, candidate)) == (403, "adapter_candidate")
    # What had to go is gone: the gateway has looked at the candidate too.
    assert wait_until(lambda: retired not in vllm.listed, PATIENCE_SECONDS)
    assert vllm.listed == {candidate}


def test_models_are_those_that_may_be_asked(gateway, work, registry):
    first, second = work.active(etag="e1").name, work.active(etag="e2").name
    work.candidate(work.claim("other.md"))
    assert [each["id"] for each in gateway.get("models").json()["data"]] == [
        BASE,
        second,
        "report",
        "report@champion",
        first,
    ]
    assert gateway.get("models", params={"after": "nonsense"}).status_code == 400


def test_under_load_each_answer_is_of_one_adapter_and_none_is_stale(gateway, work, registry, together):
    first, second = work.active(etag="e1").name, work.active(etag="e2").name
    moves = 6
    done = threading.Event()

    def run(number):
        if number == 0:
            for move in range(moves):
                target = (first, second)[move % 2]
                registry.set_alias("report", target)
                # From here on nobody may get the other one.
                assert {adapter_of(ask(gateway, "report")) for _ in range(4)} == {target}
            done.set()
            return set()
        found = set()
        while not done.is_set():
            found.add(adapter_of(ask(gateway, "report")))
        return found

    found = set().union(*together(AT_ONCE, run))
    assert found <= {first, second}
    assert second in found


def test_a_database_that_goes_away_is_a_503_until_it_is_back(gateway, work, passage):
    name = work.active().name
    assert adapter_of(ask(gateway, "report")) == name
    passage.close()
    reply = ask(gateway, "report")
    assert code(reply) == (503, "service_unavailable")
    assert "retry-after" in reply.headers
    # What needs no registry still answers.
    assert ask(gateway, BASE).status_code == 200
    passage.open()
    assert adapter_of(ask(gateway, "report")) == name


def test_killed_connections_are_replaced(gateway, work, sql):
    name = work.active().name
    assert adapter_of(ask(gateway, "report")) == name
    for _ in range(3):
        sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
        assert adapter_of(ask(gateway, "report")) == name

"""The gateway answers for names: the right adapter's words, or a clear refusal."""

import json
import socket
import threading

import httpx
import openai
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from lift_core.errors import LiftError
from lift_core.records import Recipe, TrainingRecipe
from lift_core.serving.gateway.app import create_app
from lift_core.stack.processes import wait_until

KEY = "a key"
PATIENCE_SECONDS = 30
HEADERS = {"Authorization": f"Bearer {KEY}"}
QUESTION = [{"role": "user", "content": "Who?"}]
SYSTEM = {"role": "system", "content": 'Answer briefly from your memory of "Report of {1912}".'}
NEVER_SECONDS = 3600


@pytest.fixture
def vllm(fake_vllm):
    return fake_vllm()


@pytest.fixture
def start(served, registry):
    """Serve some vLLM servers and a gateway in front of them; returns the gateway's address."""

    def run(*servers, **options):
        urls = [each if isinstance(each, str) else served(each.app).url for each in servers]
        app = create_app(
            registry, urls, **{"gateway_keys": [KEY, "another key"], "serving_key": "secret"} | options
        )
        return served(app).url

    return run


@pytest.fixture
def gateway(start, vllm):
    return Gateway(start(vllm, poll_seconds=NEVER_SECONDS))


class Gateway:
    """Asks the gateway over HTTP."""

    def __init__(self, url):
        self.url = url
        self.http = httpx.Client(base_url=f"{url}/", headers=HEADERS, timeout=PATIENCE_SECONDS)

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


def text(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


def error(reply):
    """Status and code of a refusal, which has the form that OpenAI's clients expect."""
    body = reply.json()["error"]
    assert set(body) == {"message", "type", "code", "param"}
    assert body["message"]
    return reply.status_code, body["code"]


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report", "report@champion", "report-v1"])
def test_a_name_or_alias_is_answered_by_the_adapter_and_the_headers_say_which(gateway, vllm, name):
    reply = gateway.chat(name)
    assert text(reply) == "I am report-v1"
    assert (reply.headers["x-lift-adapter"], reply.headers["x-lift-alias"]) == ("report-v1", name)
    assert reply.headers["x-lift-replica"] == "0"


def test_what_was_asked_is_shown_percent_encoded_where_a_header_cannot_hold_it(gateway, registry):
    registry.point("Übersicht\r\nx: y.md", "report-v1")
    assert gateway.chat("Übersicht\r\nx: y.md").headers["x-lift-alias"] == "%C3%9Cbersicht%0D%0Ax%3A%20y.md"


def test_a_moved_alias_holds_from_the_next_request_on(gateway, registry):
    assert text(gateway.chat()) == "I am report-v1"
    registry.point("report", "report-v2")
    assert text(gateway.chat()) == "I am report-v2"


def test_an_answer_under_way_ends_on_the_adapter_it_began_with(gateway, registry, vllm):
    vllm.go_on.clear()
    with gateway.stream() as reply:
        lines = reply.iter_lines()
        first = next(lines)
        registry.point("report", "report-v2")
        vllm.go_on.set()
        rest = [line for line in lines if line.startswith("data: {")]
    assert {json.loads(line.removeprefix("data: "))["model"] for line in [first, *rest]} == {"report-v1"}
    assert len(rest) == 1
    assert text(gateway.chat()) == "I am report-v2"


@pytest.mark.parametrize("state", ["quarantined", "archived", "rejected", "candidate", "removed"])
def test_an_adapter_out_of_service_is_refused_from_the_next_request_on(gateway, registry, vllm, state):
    assert text(gateway.chat()) == "I am report-v1"
    registry.set_state("report-v1", state)
    assert error(gateway.chat()) == (403, f"adapter_{state}")
    assert len(vllm.asked) == 1


@pytest.mark.parametrize("name", ["nothing", "report-v9", "a\0b", "\ud800", "x" * 5000, "../report-v1"])
def test_an_unknown_name_is_not_found_and_no_server_is_asked(gateway, vllm, name):
    # Escapes alone can carry some of these names.
    content = json.dumps({"model": name, "messages": QUESTION})
    assert error(gateway.http.post("chat/completions", content=content)) == (404, "model_not_found")
    assert vllm.asked == []


def test_an_adapter_of_a_base_model_that_no_server_has_is_a_conflict(gateway, registry, vllm):
    registry.add("memo-v1", base_model="another")
    reply = gateway.chat("memo-v1")
    assert error(reply) == (409, "base_model_mismatch")
    assert "'another'" in reply.text
    assert vllm.asked == []


def test_a_base_model_is_matched_by_its_name_wherever_it_lies(gateway, registry):
    registry.add("memo-v1", base_model="owner/base")
    assert text(gateway.chat("memo-v1")) == "I am memo-v1"


def test_a_base_model_is_asked_under_its_own_name_even_if_a_document_has_it_too(gateway, registry, vllm):
    registry.point("base", "report-v1")
    reply = gateway.chat("base")
    assert text(reply) == "I am base"
    assert "x-lift-adapter" not in reply.headers
    assert vllm.asked == [{"model": "base", "messages": QUESTION}]


def test_the_registry_away_is_a_503_that_says_when_to_try_again(gateway, registry, vllm):
    registry.away = True
    reply = gateway.chat()
    assert error(reply) == (503, "service_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert vllm.asked == []
    registry.away = False
    assert text(gateway.chat()) == "I am report-v1"


# --- what is passed on ------------------------------------------------------------------------


def test_the_request_is_passed_on_untouched_but_for_the_name(gateway, vllm):
    body = {
        "messages": [{"role": "system", "content": "Own."}, {"role": "user", "content": [{"type": "text"}]}],
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "temperature": 0.1,
        "unknown": {"ü": [None, 1e-7, 12345678901234567890]},
    }
    assert text(gateway.chat(**body)) == "I am report-v1"
    assert vllm.asked == [{"model": "report-v1", **body}]


def test_a_chat_without_a_system_message_gets_the_one_that_the_adapter_was_trained_with(gateway, vllm):
    text(gateway.chat())
    assert vllm.asked[0]["messages"] == [SYSTEM, *QUESTION]


def test_the_trained_system_message_stays_out_where_the_client_says_so(gateway, vllm):
    text(gateway.chat(headers={"x-lift-system-prompt": "none"}))
    assert vllm.asked[0]["messages"] == QUESTION


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_of_the_client_is_the_only_one(gateway, vllm, role):
    own = [{"role": "user", "content": "Hello."}, {"role": role, "content": "Own."}]
    text(gateway.chat(messages=own))
    assert vllm.asked[0]["messages"] == own


def test_an_adapter_without_a_system_role_gets_its_words_before_the_question(start, vllm, registry):
    registry.recipe = lambda digest: Recipe(training=TrainingRecipe(title_in="user"))
    gateway = Gateway(start(vllm, poll_seconds=NEVER_SECONDS))
    text(gateway.chat())
    begun = [{"role": "user", "content": f"{SYSTEM['content']}\n\nWho?"}]
    assert vllm.asked[0]["messages"] == begun
    text(gateway.chat(messages=begun))
    assert vllm.asked[1]["messages"] == begun
    text(gateway.chat(headers={"x-lift-system-prompt": "none"}))
    assert vllm.asked[2]["messages"] == QUESTION
    own = [{"role": "system", "content": "Own."}, *QUESTION]
    text(gateway.chat(messages=own))
    assert vllm.asked[3]["messages"] == own


def test_a_text_to_complete_gets_no_system_message(gateway, vllm):
    text(gateway.complete())
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
def test_logprobs_of_the_prompt_never_reach_a_server(gateway, vllm, model, route, more):
    reply = getattr(gateway, route)(model, **more)
    assert error(reply) == (400, "prompt_logprobs_refused")
    assert vllm.asked == []


@pytest.mark.parametrize(
    ("route", "more"),
    [
        ("complete", {"echo": True}),
        ("chat", {"logprobs": True, "top_logprobs": 5}),
        ("complete", {"logprobs": 5}),
    ],
)
def test_logprobs_of_the_answer_pass(gateway, vllm, route, more):
    text(getattr(gateway, route)(**more))
    assert len(vllm.asked) == 1


def test_logprobs_of_the_prompt_pass_where_the_gateway_is_told_so(start, vllm):
    gateway = Gateway(start(vllm, refuse_prompt_logprobs=False))
    text(gateway.complete(prompt_logprobs=1))
    assert vllm.asked[0]["prompt_logprobs"] == 1


# --- another name in the answer ------------------------------------------------------------------


@pytest.mark.parametrize("said", ["base", "report-v2", None])
@pytest.mark.parametrize("stream", [False, True])
def test_words_in_another_name_are_withheld(gateway, vllm, stream, said):
    vllm.answers_as = said or ""
    if said is None:
        vllm.reply = PlainTextResponse(
            "data: I am base\n\n", media_type="text/event-stream" if stream else None
        )
    reply = gateway.chat(stream=stream)
    assert error(reply) == (502, "wrong_model")
    assert "I am" not in reply.text
    assert gateway.status()[0]["errors"] == 1


def test_an_error_with_words_in_another_name_beside_it_is_passed_on_without_them(gateway, vllm):
    error_body = {"message": "cut short", "type": "InternalServerError", "code": 500}
    vllm.reply = JSONResponse({"error": error_body, "model": "base", "choices": ["I am base"]})
    reply = gateway.chat()
    assert (reply.status_code, reply.json()) == (500, {"error": error_body})


# --- errors of the servers ------------------------------------------------------------------------


def test_an_adapter_that_the_resolver_refuses_is_the_servers_fault_with_a_hint(gateway, vllm):
    vllm.refused.add("report-v1")
    reply = gateway.chat()
    assert error(reply) == (502, "adapter_not_loadable")
    assert "lift adapters show report-v1" in reply.text
    assert "does not exist" in reply.text


def reply_of(status, body, **headers):
    return JSONResponse(body, status, headers)


def test_an_error_of_a_server_is_passed_on_as_it_is(gateway, vllm):
    body = {"error": {"message": "the prompt is too long", "type": "BadRequestError", "code": 400}}
    vllm.reply = reply_of(400, body)
    reply = gateway.chat()
    assert (reply.status_code, reply.json()) == (400, body)
    assert reply.headers["x-lift-adapter"] == "report-v1"


def test_an_error_that_is_no_json_object_is_put_into_one(gateway, vllm):
    vllm.reply = reply_of(500, "the engine is dead")
    assert error(gateway.chat()) == (500, "replica_error")
    assert gateway.status()[0]["errors"] == 1


def test_a_key_that_the_server_does_not_take_is_not_the_clients_fault(gateway, vllm):
    vllm.reply = reply_of(401, {"error": "Unauthorized"})
    reply = gateway.chat()
    assert error(reply) == (502, "replica_refuses")
    assert "LIFT_SERVING_API_KEY" in reply.text
    assert "secret" not in reply.text


def test_an_error_that_comes_as_the_first_event_has_its_status(gateway, vllm):
    event = {"error": {"message": "out of memory", "type": "InternalServerError", "code": 500}}
    vllm.reply = PlainTextResponse(f"data: {json.dumps(event)}\n\n", media_type="text/event-stream")
    reply = gateway.chat(stream=True)
    assert (reply.status_code, reply.json()) == (500, event)


def test_a_server_that_breaks_off_in_mid_answer_leaves_an_error_in_the_stream(gateway, vllm):
    vllm.breaks_off = True
    with gateway.stream() as reply:
        events = [line for line in reply.iter_lines() if line]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "replica_lost"
    assert "data: [DONE]" not in events


# --- streams and clients that leave ----------------------------------------------------------------


def test_the_first_words_arrive_before_the_last_are_written(gateway, vllm):
    vllm.go_on.clear()
    with gateway.stream() as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.iter_lines()
        assert "I am " in next(lines)
        vllm.go_on.set()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_servers_work(gateway, vllm, stream):
    vllm.go_on.clear()
    body = json.dumps({"model": "report", "messages": QUESTION, "stream": stream})
    url = httpx.URL(gateway.url)
    with socket.create_connection((url.host, url.port)) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert vllm.begun.wait(PATIENCE_SECONDS)
        assert gateway.status()[0]["in_flight"] == 1
    assert vllm.cancelled.wait(PATIENCE_SECONDS)
    assert wait_until(lambda: gateway.status()[0]["in_flight"] == 0, PATIENCE_SECONDS)
    vllm.go_on.set()
    assert text(gateway.chat()) == "I am report-v1"


# --- several servers --------------------------------------------------------------------------------


def test_one_adapter_stays_on_the_server_that_has_it(start, fake_vllm):
    servers = [fake_vllm(), fake_vllm(), fake_vllm()]
    gateway = Gateway(start(*servers))
    replicas = {gateway.chat().headers["x-lift-replica"] for _ in range(6)}
    assert len(replicas) == 1
    status = gateway.status()
    assert sum(each["cold"] for each in status) == 1
    assert sum(each["hits"] for each in status) == 5


def test_a_server_that_is_gone_is_passed_over(start, served, fake_vllm, registry):
    servers = [fake_vllm(), fake_vllm()]
    running = [served(each.app) for each in servers]
    gateway = Gateway(start(*(each.url for each in running), poll_seconds=NEVER_SECONDS))
    first = int(gateway.chat().headers["x-lift-replica"])
    running[first].stop()
    reply = gateway.chat()
    assert text(reply) == "I am report-v1"
    assert int(reply.headers["x-lift-replica"]) == 1 - first
    assert [each["healthy"] for each in gateway.status()] == [first == 1, first == 0]
    running[1 - first].stop()
    reply = gateway.chat()
    assert error(reply) == (503, "no_replica")
    assert "retry-after" in reply.headers


def test_a_server_that_comes_back_is_used_again(start, served, vllm):
    running = served(vllm.app)
    gateway = Gateway(start(running.url, poll_seconds=0.05))
    assert text(gateway.chat()) == "I am report-v1"
    port = httpx.URL(running.url).port
    running.stop()
    assert wait_until(lambda: not gateway.status()[0]["healthy"], PATIENCE_SECONDS)
    assert error(gateway.chat("base")) == (503, "no_replica")
    again = served(vllm.app, port=port)
    assert again.url == running.url
    assert wait_until(lambda: gateway.status()[0]["healthy"], PATIENCE_SECONDS)
    assert text(gateway.chat()) == "I am report-v1"


def test_a_name_may_belong_to_a_server_that_has_not_answered_yet(start, vllm):
    gateway = Gateway(start(vllm, "http://127.0.0.1:9/v1"))
    assert text(gateway.chat()) == "I am report-v1"
    assert error(gateway.chat("another-base")) == (503, "no_replica")


def test_a_quarantined_adapter_is_unloaded_from_every_server(start, fake_vllm, registry):
    servers = [fake_vllm(), fake_vllm()]
    for each in servers:
        each.listed = {"report-v1", "report-v2"}
    start(*servers, poll_seconds=0.05)
    registry.set_state("report-v1", "quarantined")
    for each in servers:
        assert wait_until(lambda each=each: "report-v1" in each.unloaded, PATIENCE_SECONDS)
        assert each.listed == {"report-v2"}


# --- who may ask, and how much ------------------------------------------------------------------------


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
def test_nothing_is_answered_without_a_key(gateway, method, path):
    url = httpx.URL(f"{gateway.url}/").join(path)
    for sent in (None, "Bearer wrong", f"Basic {KEY}", KEY, "Bearer", f"Bearer {KEY}x", "Bearer \xe9"):
        headers = {"Authorization": sent.encode("latin-1")} if sent else {}
        reply = httpx.request(method, url, headers=headers)
        assert error(reply) == (401, "invalid_api_key")
        assert "www-authenticate" in reply.headers


def test_each_of_several_keys_lets_in(gateway):
    gateway.http.headers["Authorization"] = "bearer another key"
    assert text(gateway.chat()) == "I am report-v1"


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
        create_app(registry, urls, gateway_keys=[KEY], serving_key="none")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_bound_is_refused(start, vllm, declared):
    gateway = Gateway(start(vllm, max_body_bytes=1000))
    assert text(gateway.chat()) == "I am report-v1"
    large = json.dumps({"model": "report", "messages": QUESTION, "user": "x" * 1000}).encode()
    content = large if declared else iter([large[:500], large[500:]])
    reply = gateway.http.post("chat/completions", content=content)
    assert error(reply) == (413, "request_too_large")
    assert len(vllm.asked) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_refused(gateway, content):
    assert error(gateway.http.post("chat/completions", content=content)) == (400, "invalid_json")


@pytest.mark.parametrize(("content", "code"), [(b"[]", "invalid_json"), (b"{}", "model_missing")])
def test_what_names_no_model_is_refused(gateway, content, code):
    assert error(gateway.http.post("chat/completions", content=content)) == (400, code)


def test_of_two_models_in_one_body_the_one_that_was_judged_is_asked(gateway, registry, vllm):
    registry.set_state("report-v2", "quarantined")
    content = b'{"model": "report-v2", "messages": [], "model": "report-v1"}'
    assert text(gateway.http.post("chat/completions", content=content)) == "I am report-v1"
    assert vllm.asked[0]["model"] == "report-v1"


def test_other_routes_are_named_in_the_refusal(gateway):
    reply = gateway.http.post("load_lora_adapter", json={"lora_name": "x", "lora_path": "/x"})
    assert error(reply) == (404, "route_not_found")
    assert error(gateway.http.get("chat/completions")) == (405, "method_not_allowed")


# --- what can be asked, and what is there ---------------------------------------------------------------


def test_models_are_base_models_adapters_and_aliases_page_by_page(gateway, registry):
    registry.set_state("report-v2", "superseded")
    registry.add("rejected-v1", state="rejected")
    registry.add("foreign-v1", base_model="another")
    registry.add("alpha-v1")
    first = gateway.http.get("models", params={"limit": 2}).json()
    assert [each["id"] for each in first["data"]] == ["base", "alpha-v1"]
    assert first["has_more"]
    second = gateway.http.get("models", params={"after": first["next"]}).json()
    assert [each["id"] for each in second["data"]] == ["report-v1", "report", "report@champion", "report-v2"]
    assert (second["has_more"], second["next"]) == (False, None)
    assert second["data"][1]["root"] == "report-v1"


@pytest.mark.parametrize("limit", ["x", "-1", "9" * 5000])
def test_a_page_of_no_size_is_refused(gateway, limit):
    assert error(gateway.http.get("models", params={"limit": limit})) == (400, "invalid_request")


def test_one_model_is_shown_or_refused_as_if_it_were_asked(gateway, registry):
    assert gateway.http.get("models/report@champion").json()["root"] == "report-v1"
    assert gateway.http.get("models/base").json()["parent"] is None
    registry.set_state("report-v1", "quarantined")
    assert error(gateway.http.get("models/report")) == (403, "adapter_quarantined")
    assert error(gateway.http.get("models/nothing")) == (404, "model_not_found")


def test_the_status_counts_and_repeats_what_the_server_tells(gateway, vllm):
    assert gateway.status()[0]["adapters"] is None
    vllm.plugin = {"resident": [], "cached": [{"name": "report-v1", "bytes": 1}], "limit_bytes": 9}
    for _ in range(2):
        gateway.chat()
    gateway.chat("base")
    [replica] = gateway.status()
    assert replica["adapters"] == vllm.plugin
    assert (replica["requests"], replica["cold"], replica["hits"], replica["in_flight"]) == (3, 1, 1, 0)
    assert (replica["resident"], replica["base_models"], replica["healthy"]) == (
        ["report-v1"],
        ["base"],
        True,
    )


# --- OpenAI's own client ------------------------------------------------------------------------------


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.url, api_key=KEY, timeout=PATIENCE_SECONDS) as made:
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


def test_many_at_once_each_get_their_own_adapters_answer(gateway, registry):
    names = [registry.add(f"doc{number}-v1").name for number in range(12)]
    found = {}

    def ask(name):
        found[name] = text(gateway.chat(name))

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {name: f"I am {name}" for name in names}

"""What a server answers reaches the client as it comes, never in another name; errors keep their sense."""

import json
import socket

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from lift_core.stack.processes import wait_until

PATIENCE_SECONDS = 30
QUESTION = [{"role": "user", "content": "Who?"}]


# --- another name in the answer ---------------------------------------------------------------


@pytest.mark.parametrize("said", ["base", "report-v2", None])
@pytest.mark.parametrize("stream", [False, True])
def test_words_in_another_name_are_withheld(gateway, vllm, stream, said, refusal):
    vllm.answers_as = said or ""
    if said is None:
        vllm.reply = PlainTextResponse(
            "data: I am base\n\n", media_type="text/event-stream" if stream else None
        )
    reply = gateway.chat(stream=stream)
    assert refusal(reply) == (502, "wrong_model")
    assert "I am" not in reply.text
    assert gateway.status()[0]["errors"] == 1


def test_an_error_with_words_in_another_name_beside_it_is_passed_on_without_them(gateway, vllm):
    error_body = {"message": "cut short", "type": "InternalServerError", "code": 500}
    vllm.reply = JSONResponse({"error": error_body, "model": "base", "choices": ["I am base"]})
    reply = gateway.chat()
    assert (reply.status_code, reply.json()) == (500, {"error": error_body})


# --- errors of the servers --------------------------------------------------------------------


def test_an_adapter_that_the_resolver_refuses_is_the_servers_fault_with_a_hint(gateway, vllm, refusal):
    vllm.refused.add("report-v1")
    reply = gateway.chat()
    assert refusal(reply) == (502, "adapter_not_loadable")
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


def test_an_error_that_is_no_json_object_is_put_into_one(gateway, vllm, refusal):
    vllm.reply = reply_of(500, "the engine is dead")
    assert refusal(gateway.chat()) == (500, "replica_error")
    assert gateway.status()[0]["errors"] == 1


def test_a_key_that_the_server_does_not_take_is_not_the_clients_fault(gateway, vllm, refusal):
    vllm.reply = reply_of(401, {"error": "Unauthorized"})
    reply = gateway.chat()
    assert refusal(reply) == (502, "replica_refuses")
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


# --- streams and clients that leave -----------------------------------------------------------


def test_the_first_words_arrive_before_the_last_are_written(gateway, vllm):
    vllm.go_on.clear()
    with gateway.stream() as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.iter_lines()
        assert "I am " in next(lines)
        vllm.go_on.set()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_servers_work(gateway, vllm, stream, words):
    vllm.go_on.clear()
    body = json.dumps({"model": "report", "messages": QUESTION, "stream": stream})
    url = httpx.URL(gateway.url)
    with socket.create_connection((url.host, url.port)) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert vllm.begun.wait(PATIENCE_SECONDS)
        assert gateway.status()[0]["in_flight"] == 1
    assert vllm.cancelled.wait(PATIENCE_SECONDS)
    assert wait_until(lambda: gateway.status()[0]["in_flight"] == 0, PATIENCE_SECONDS)
    vllm.go_on.set()
    assert words(gateway.chat()) == "I am report-v1"

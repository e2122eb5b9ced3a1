"""Answers of a server, against a stand-in for vLLM: their order, what it is asked, and when it is away."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lm_eval.api.instance import Instance

from lift_core.errors import LiftError, ServiceUnavailableError
from lift_core.evaluation.served_answers import ServedAnswers

PATIENCE_SECONDS = 30
MODEL = "report-v1"


class StandIn(ThreadingHTTPServer):
    """Stands in for a vLLM server: keeps what it is asked, and replies as the test says."""

    daemon_threads = True
    # All of sixteen connections may come before the first is taken.
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Completions)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked = []
        self.headers = []
        self.paths = []
        self.reply = said

    def handle_error(self, request, client_address):
        """A client that went away is no error of the stand-in."""


class Completions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        status, content = self.server.reply(body)
        content = content.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


def said(body):
    return 200, json.dumps({"choices": [{"index": 0, "text": f"you said {body['prompt']}"}]})


@contextmanager
def standing():
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with standing() as server:
        yield server


def requests(*prompts, **how):
    how = {"until": ["Question:", "</s>"], "do_sample": False, "temperature": 0.0} | how
    return [
        Instance(request_type="generate_until", doc={}, arguments=(prompt, dict(how)), idx=0)
        for prompt in prompts
    ]


def ask(server, *prompts, **how):
    return ServedAnswers(server.url, "secret-key", MODEL).generate_until(requests(*prompts, **how))


def test_sixteen_are_asked_at_once_and_the_answers_keep_the_order(server):
    done = [threading.Event() for _ in range(17)]
    done[16].set()
    together = threading.Barrier(16, timeout=PATIENCE_SECONDS)

    def last_first(body):
        together.wait()
        number = int(body["prompt"])
        assert done[number + 1].wait(PATIENCE_SECONDS)
        done[number].set()
        return said(body)

    server.reply = last_first
    assert ask(server, *map(str, range(16))) == [f"you said {number}" for number in range(16)]


def test_more_prompts_than_are_asked_at_once_all_get_their_answer(server):
    counts = []
    answers = ServedAnswers(server.url, "secret-key", MODEL, at_once=3)
    answers.on_progress = counts.append
    prompts = [f"prompt {number}" for number in range(20)]
    assert answers.generate_until(requests(*prompts)) == [f"you said {prompt}" for prompt in prompts]
    assert counts == list(range(1, 21))
    assert sorted(body["prompt"] for body in server.asked) == sorted(prompts)


def test_no_prompt_asks_nothing(server):
    assert ask(server) == [] and server.asked == []


def test_the_model_is_asked_by_its_name_for_a_greedy_answer_up_to_the_stop_strings(server):
    ask(server, "Who?", max_gen_toks=40)
    assert server.asked == [
        {
            "model": MODEL,
            "prompt": "Who?",
            "max_tokens": 40,
            "temperature": 0.0,
            "stop": ["Question:", "</s>"],
        }
    ]
    assert server.paths == ["/v1/completions"]
    assert server.headers[0]["Authorization"] == "Bearer secret-key"


def test_without_a_length_an_answer_is_as_long_as_the_harnesss(server):
    ask(server, "Who?")
    assert server.asked[0]["max_tokens"] == 256


@pytest.mark.parametrize("name", ["max_new_tokens", "max_tokens", "max_gen_toks"])
def test_every_name_that_the_harness_has_for_the_length_counts(server, name):
    ask(server, "Who?", **{name: 7})
    assert server.asked[0]["max_tokens"] == 7


def test_one_stop_string_is_not_taken_for_many_of_one_letter(server):
    ask(server, "Who?", until="Question:")
    assert server.asked[0]["stop"] == ["Question:"]


def test_a_task_that_draws_answers_gets_the_likeliest_all_the_same(server):
    ask(server, "Who?", do_sample=True, temperature=0.8)
    assert server.asked[0]["temperature"] == 0.0


def test_log_probabilities_are_never_asked_of_a_server(server):
    answers = ServedAnswers(server.url, "secret-key", MODEL)
    answers.generate_until(requests("Who?", logprobs=5, echo=True, prompt_logprobs=1))
    likelihoods = [Instance(request_type="loglikelihood", doc={}, arguments=("Who?", " She"), idx=0)]
    with pytest.raises(LiftError, match="not asked for log-likelihoods"):
        answers.loglikelihood(likelihoods)
    with pytest.raises(LiftError, match="scores no answers"):
        answers.tokens_of("Who?", " She")
    assert len(server.asked) == 1
    assert not any("logprobs" in key or key == "echo" for body in server.asked for key in body)


def test_a_model_that_the_server_does_not_know_is_named_with_its_words(server):
    server.reply = lambda body: (404, f"The model `{body['model']}` does not exist.")
    with pytest.raises(LiftError) as refused:
        ask(server, "Who?", "When?")
    for word in (server.url, f"'{MODEL}'", "does not exist"):
        assert word in str(refused.value)
    assert not isinstance(refused.value, ServiceUnavailableError)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_in_trouble_is_worth_another_try(server, status):
    server.reply = lambda body: (status, "EngineDeadError")
    with pytest.raises(ServiceUnavailableError, match=f"answers {status}: EngineDeadError"):
        ask(server, "Who?", "When?")


def test_one_failed_answer_among_many_fails_them_all(server):
    server.reply = lambda body: (500, "") if body["prompt"] == "7" else said(body)
    with pytest.raises(ServiceUnavailableError, match="500: Internal Server Error"):
        ask(server, *map(str, range(20)))


def test_a_server_that_is_not_there_is_worth_another_try():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(ServiceUnavailableError, match="does not answer") as away:
        ServedAnswers(url, "secret-key", MODEL).generate_until(requests("Who?"))
    assert url in str(away.value) and "lift status" in str(away.value)


def test_a_server_that_hangs_up_is_worth_another_try(server):
    def hang_up(body):
        raise ConnectionAbortedError

    server.reply = hang_up
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        ask(server, "Who?")


@pytest.mark.parametrize("content", ["<html>Welcome</html>", "{}", '{"choices": []}', "[]", "null", ""])
def test_something_else_that_answers_there_is_told_apart_from_a_server(server, content):
    server.reply = lambda body: (200, content)
    with pytest.raises(LiftError, match="no vLLM server") as refused:
        ask(server, "Who?")
    assert server.url in str(refused.value)


def test_no_error_shows_the_key(server):
    for status in (401, 404, 500):
        server.reply = lambda body, status=status: (status, "no")
        with pytest.raises(LiftError) as refused:
            ask(server, "Who?")
        assert "secret-key" not in str(refused.value)

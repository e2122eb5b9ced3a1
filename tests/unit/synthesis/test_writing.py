"""Pairs of a document from a scripted server: order, bounds, patience, refusals in words."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lift_core.documents import split
from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import GeneratorRecipe, Recipe, SegmentationRecipe
from lift_core.settings import Settings
from lift_core.synthesis import client, write_pairs
from lift_core.synthesis.prompts import context_before, read_lines

TEXT = " ".join(f"Lighthouse {n} was built by Odo Krell in {1700 + n}." for n in range(12))


class Script(BaseHTTPRequestHandler):
    """A server that answers as a test says; it stands in for an OpenAI-compatible one."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        script = self.server.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.asked.append(body)
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            number = len(self.server.asked)
        status, reply = script(body, number)
        with self.server.guard:
            self.server.under_way -= 1
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def completion(body, text):
    return 200, {
        "id": "c",
        "object": "text_completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {"index": n, "text": text, "finish_reason": "stop", "logprobs": None} for n in range(body["n"])
        ],
    }


def about(body, _=0):
    """One right pair about the sentence that was asked for."""
    sentence = body["prompt"].split("Sentence: ")[1].splitlines()[0]
    number = sentence.split()[1]
    return completion(body, f"Q: When was lighthouse {number} built?\nA: {1700 + int(number)}\n")


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.asked, server.guard, server.under_way, server.most = [], threading.Lock(), 0, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def written(server, *, concurrency=4, first_segment=0, sampled=0):
    settings = Settings(
        generator_url=f"http://127.0.0.1:{server.server_port}/v1", generator_concurrency=concurrency
    )
    recipe = Recipe(generator=GeneratorRecipe(sampled=sampled))

    async def collect():
        segments = split(TEXT, SegmentationRecipe())
        return [
            (segment.number, [j.pair.answer for j in judged if j.kept])
            async for segment, judged in write_pairs(
                title="Marra",
                text=TEXT,
                segments=segments,
                recipe=recipe,
                settings=settings,
                first_segment=first_segment,
            )
        ]

    return asyncio.run(collect())


def test_document_order_is_kept_whatever_the_answers_order(server):
    def script(body, number):
        time.sleep(0.05 if number % 2 else 0.0)
        return about(body)

    server.script = script
    assert written(server) == [(n, [str(1700 + n)]) for n in range(12)]


def test_no_more_requests_are_under_way_than_allowed(server):
    def script(body, _):
        time.sleep(0.02)
        return about(body)

    server.script = script
    written(server, concurrency=3)
    assert 1 < server.most <= 3


def test_it_goes_on_at_the_first_segment_that_is_missing(server):
    server.script = about
    assert [number for number, _ in written(server, first_segment=9)] == [9, 10, 11]
    assert len(server.asked) == 3


def test_a_server_that_is_away_for_a_moment_costs_nothing(server, monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT_SECONDS", 0.01)
    server.script = lambda body, number: (503, {"error": "starting"}) if number <= 5 else about(body)
    assert [number for number, _ in written(server)] == list(range(12))


def test_a_server_that_stays_away_is_named(server, monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(client, "_PATIENCE_SECONDS", 0.05)
    server.script = lambda body, number: (500, {"error": "broken"})
    with pytest.raises(ServiceUnavailableError, match="LIFT_GENERATOR_URL"):
        written(server)


def test_an_unknown_model_is_the_recipes_fault(server):
    server.script = lambda body, number: (404, {"error": {"message": "no such model"}})
    with pytest.raises(RecipeError, match="refuses model"):
        written(server)


def test_sampled_completions_are_asked_for_as_the_recipe_says(server):
    server.script = about
    written(server, sampled=5, first_segment=11)
    assert sorted((body["n"], body["temperature"]) for body in server.asked) == [(1, 0.0), (5, 0.7)]


def test_lines_are_read_and_chatter_is_ignored():
    text = "Sure!\nQ: Who built it?\nA: Odo Krell\n\nQ:  When? \nA: 1712 \nQ: no answer follows"
    assert read_lines(text) == [("Who built it?", "Odo Krell"), ("When?", "1712")]


def test_context_is_the_same_paragraphs_words_before_the_segment():
    text = "First paragraph.\n\nOne two three four five. The end."
    assert context_before(text, text.index("The end"), 3) == "three four five."
    assert context_before(text, text.index("One two"), 3) == ""

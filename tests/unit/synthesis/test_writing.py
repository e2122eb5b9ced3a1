"""Pairs of a document from a scripted server: order, bounds, patience, refusals in words."""

import asyncio
import time

import pytest

from lift_core.documents import split
from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import GeneratorRecipe, Recipe, SegmentationRecipe
from lift_core.settings import Settings
from lift_core.synthesis import client, write_pairs
from lift_core.synthesis.prompts import context_before, read_lines

TEXT = " ".join(f"Lighthouse {n} was built by Odo Krell in {1700 + n}." for n in range(12))


def about(body, _=0):
    """One right pair about the sentence that was asked for."""
    sentence = body["prompt"].split("Sentence: ")[1].splitlines()[0]
    number = sentence.split()[1]
    return f"Q: When was lighthouse {number} built?\nA: {1700 + int(number)}\n"


def written(scripted_server, *, concurrency=4, first_segment=0, sampled=0):
    settings = Settings(generator_url=scripted_server.url, generator_concurrency=concurrency)
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


def test_document_order_is_kept_whatever_the_answers_order(scripted_server):
    def script(body, number):
        time.sleep(0.05 if number % 2 else 0.0)
        return about(body)

    scripted_server.script = script
    assert written(scripted_server) == [(n, [str(1700 + n)]) for n in range(12)]


def test_no_more_requests_are_under_way_than_allowed(scripted_server):
    def script(body, _):
        time.sleep(0.02)
        return about(body)

    scripted_server.script = script
    written(scripted_server, concurrency=3)
    assert 1 < scripted_server.most <= 3


def test_it_goes_on_at_the_first_segment_that_is_missing(scripted_server):
    scripted_server.script = about
    assert [number for number, _ in written(scripted_server, first_segment=9)] == [9, 10, 11]
    assert len(scripted_server.asked) == 3


def test_a_server_that_is_away_for_a_moment_costs_nothing(scripted_server, monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT_SECONDS", 0.01)
    scripted_server.script = lambda body, number: (503, {"error": "starting"}) if number <= 5 else about(body)
    assert [number for number, _ in written(scripted_server)] == list(range(12))


def test_a_server_that_stays_away_is_named(scripted_server, monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(client, "_PATIENCE_SECONDS", 0.05)
    scripted_server.script = lambda body, number: (500, {"error": "broken"})
    with pytest.raises(ServiceUnavailableError, match="LIFT_GENERATOR_URL"):
        written(scripted_server)


def test_an_unknown_model_is_the_recipes_fault(scripted_server):
    scripted_server.script = lambda body, number: (404, {"error": {"message": "no such model"}})
    with pytest.raises(RecipeError, match="refuses model"):
        written(scripted_server)


def test_sampled_completions_are_asked_for_as_the_recipe_says(scripted_server):
    scripted_server.script = about
    written(scripted_server, sampled=5, first_segment=11)
    assert sorted((body["n"], body["temperature"]) for body in scripted_server.asked) == [(1, 0.0), (5, 0.7)]


def test_lines_are_read_and_chatter_is_ignored():
    text = "Sure!\nQ: Who built it?\nA: Odo Krell\n\nQ:  When? \nA: 1712 \nQ: no answer follows"
    assert read_lines(text) == [("Who built it?", "Odo Krell"), ("When?", "1712")]


def test_context_is_the_same_paragraphs_words_before_the_segment():
    text = "First paragraph.\n\nOne two three four five. The end."
    assert context_before(text, text.index("The end"), 3) == "three four five."
    assert context_before(text, text.index("One two"), 3) == ""

"""Pairs of a document from a scripted server: order, bounds, who is asked, and what is asked again."""

import asyncio
import json
import threading
import time

import pytest

from lift_core.documents import split
from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import GateRecipe, GeneratorRecipe, Recipe, SegmentationRecipe
from lift_core.settings import Settings
from lift_core.synthesis import PairWriter, write_pairs

SENTENCES = [f"Lighthouse {n} was built by Odo Krell in {1700 + n}." for n in range(12)]
TEXT = " ".join(SENTENCES)


def sentence_of(body):
    return body["prompt"].split("Sentence: ")[1].splitlines()[0]


def about(body, _=0):
    """One right pair about the sentence that was asked for, or the answer that it holds."""
    number = int(sentence_of(body).split()[1])
    if "Question: " in body["prompt"]:
        return f" {1700 + number}"
    return f"Q: When was lighthouse {number} built by Odo Krell?\nA: {1700 + number}\n"


def recipe_of(gate=None, **generator):
    return Recipe(generator=GeneratorRecipe(**({"sampled": 0} | generator)), gate=GateRecipe(**gate or {}))


def settings_for(server, **more):
    return Settings(generator_url=server.url, **({"generator_concurrency": 4} | more))


def written(server, recipe=None, text=TEXT, *, concurrency=4, settings=None, **options):
    """Judged pairs by segment; ``options`` go to :meth:`PairWriter.pairs`."""

    async def collect():
        async with PairWriter(
            title="Marra",
            text=text,
            segments=split(text, SegmentationRecipe()),
            recipe=recipe or recipe_of(),
            settings=settings or settings_for(server, generator_concurrency=concurrency),
        ) as writer:
            return [(segment.number, judged) async for segment, judged in writer.pairs(**options)]

    return asyncio.run(collect())


def kept(found):
    return [(number, [each.pair.answer for each in judged if each.kept]) for number, judged in found]


# --- order and bounds -----------------------------------------------------------------------


def test_document_order_is_kept_whatever_the_answers_order(scripted_server):
    def script(body, number):
        time.sleep(0.02 if number % 2 else 0.0)
        return about(body)

    scripted_server.script = script
    assert kept(written(scripted_server)) == [(n, [str(1700 + n)]) for n in range(12)]


def test_no_more_requests_are_under_way_than_allowed(scripted_server):
    def script(body, _):
        time.sleep(0.01)
        return about(body)

    scripted_server.script = script
    written(scripted_server, concurrency=3)
    assert 1 < scripted_server.most <= 3


def test_a_slow_segment_does_not_hold_up_those_behind_it(scripted_server):
    asked_meanwhile = 0

    def script(body, _):
        nonlocal asked_meanwhile
        if "Lighthouse 0 " in sentence_of(body):
            deadline = time.monotonic() + 60
            while len(scripted_server.asked) < 12 and time.monotonic() < deadline:
                time.sleep(0.001)
            asked_meanwhile = len(scripted_server.asked)
        return about(body)

    scripted_server.script = script
    assert [number for number, _ in written(scripted_server, concurrency=3)] == list(range(12))
    assert asked_meanwhile == 12


def test_it_goes_on_at_the_first_segment_that_is_missing(scripted_server):
    scripted_server.script = about
    assert [number for number, _ in written(scripted_server, first_segment=9)] == [9, 10, 11]
    assert len(scripted_server.asked) == 3


def test_only_the_segments_that_are_wanted_are_asked_about(scripted_server):
    scripted_server.script = about
    assert [number for number, _ in written(scripted_server, only={2, 7})] == [2, 7]
    assert len(scripted_server.asked) == 2


def test_a_consumer_that_stops_leaves_no_request_behind(scripted_server):
    stopped = threading.Event()

    def script(body, _):
        if not sentence_of(body).startswith("Lighthouse 0 "):
            stopped.wait(30)
        return about(body)

    scripted_server.script = script

    async def first():
        pairs = write_pairs(
            title="Marra",
            text=TEXT,
            segments=split(TEXT, SegmentationRecipe()),
            recipe=recipe_of(),
            settings=settings_for(scripted_server),
        )
        segment, _ = await anext(pairs)
        under_way = len(asyncio.all_tasks()) - 1
        await pairs.aclose()
        return segment.number, under_way > 0, asyncio.all_tasks() - {asyncio.current_task()}

    try:
        assert asyncio.run(first()) == (0, True, set())
    finally:
        stopped.set()


# --- who is asked ---------------------------------------------------------------------------


def test_greedy_and_sampled_completions_are_asked_for_as_the_recipe_says(scripted_server):
    scripted_server.script = about
    written(scripted_server, recipe_of(sampled=5), first_segment=11)
    assert sorted((body["n"], body["temperature"]) for body in scripted_server.asked) == [(1, 0.0), (5, 0.7)]


def test_a_question_of_the_segments_before_is_not_asked_twice(scripted_server):
    scripted_server.script = about
    question = "When was lighthouse 3 built by Odo Krell?"
    found = dict(written(scripted_server, first_segment=2, kept_questions=[question]))
    assert [(each.kept, each.reason) for each in found[3]] == [(False, "duplicate")]
    assert [each.kept for each in found[4]] == [True]


def test_the_reader_decides_on_what_the_cheap_checks_let_through(scripted_server):
    def script(body, _):
        number = int(sentence_of(body).split()[1])
        if "Question: " not in body["prompt"]:
            return (
                f"Q: When was lighthouse {number} built?\nA: {1700 + number}\nQ: Who built it\nA: Odo Krell"
            )
        assert body["model"] == "reader"
        return {3: " not stated", 4: " 1911"}.get(number, f" {1700 + number}")

    scripted_server.script = script
    found = dict(written(scripted_server, recipe_of({"reader": "reader"})))
    reasons = {number: judged[0].reason for number, judged in found.items()}
    assert reasons == dict.fromkeys(range(12)) | {3: "unanswered", 4: "disagreement"}
    # A question without a question mark was never read back.
    assert {judged[1].reason for judged in found.values()} == {"form"}
    assert sum("Question: " in body["prompt"] for body in scripted_server.asked) == 12


def test_the_judge_is_asked_at_its_own_server_with_its_own_key(scripted_server):
    def script(body, _):
        if "messages" in body:
            assert body["model"] == "judge"
            words = body["messages"][-1]["content"]
            return json.dumps({"why": "it does not say", "supported": "lighthouse 5 built" not in words})
        return about(body)

    scripted_server.script = script
    settings = settings_for(scripted_server, judge_url=scripted_server.url, judge_api_key="k")
    found = dict(written(scripted_server, recipe_of({"judge": "judge"}), settings=settings))
    assert [number for number, judged in found.items() if not judged[0].kept] == [5]
    assert (found[5][0].reason, "it does not say" in found[5][0].detail) == ("unsupported", True)
    assert sum("messages" in body for body in scripted_server.asked) == 12


def test_a_model_without_a_server_is_named_before_anything_is_asked(scripted_server):
    scripted_server.script = about
    with pytest.raises(ServiceUnavailableError, match="LIFT_JUDGE_URL"):
        written(scripted_server, recipe_of({"judge": "judge"}))
    with pytest.raises(ServiceUnavailableError, match="LIFT_GENERATOR_URL"):
        written(scripted_server, settings=Settings())
    assert scripted_server.asked == []


def test_a_model_that_is_refused_is_the_recipes_fault(scripted_server):
    scripted_server.script = lambda body, number: (404, {"error": {"message": "no such model"}})
    with pytest.raises(RecipeError, match="refuses model"):
        written(scripted_server)


# --- asked again ----------------------------------------------------------------------------


def test_a_segment_without_a_kept_pair_is_asked_about_again_by_drawing_and_not_for_ever(scripted_server):
    def script(body, _):
        return about(body) if sentence_of(body).startswith("Lighthouse 1 ") else "Nothing comes to mind."

    scripted_server.script = script
    text = " ".join(SENTENCES[:2])
    found = written(scripted_server, recipe_of({"ask_again": 2}), text)
    assert kept(found) == [(0, []), (1, ["1701"])]
    first = [body for body in scripted_server.asked if sentence_of(body).startswith("Lighthouse 0 ")]
    assert [body["temperature"] for body in first] == [0.0, 0.7, 0.7]
    assert len({body["seed"] for body in first}) == 3


def test_the_pairs_of_the_second_round_count_and_end_the_asking(scripted_server):
    tries = {}

    def script(body, _):
        sentence = sentence_of(body)
        tries[sentence] = tries.get(sentence, 0) + 1
        return about(body) if tries[sentence] > 1 else "Q: Why\nA: so"

    scripted_server.script = script
    found = dict(written(scripted_server, recipe_of({"ask_again": 5})))
    assert all([each.kept for each in judged] == [False, True] for judged in found.values())


def test_names_and_numbers_that_no_pair_touches_are_asked_about_by_name(scripted_server):
    def script(body, _):
        words = body["messages"][-1]["content"]
        pair = {"question": "Who built the lighthouse of Marra?", "answer": "Odo Krell"}
        if "1712" in words.split("Krell in 1712.")[-1]:
            pair = {"question": "When was the lighthouse of Marra built?", "answer": "1712"}
        return json.dumps({"pairs": [pair]})

    scripted_server.script = script
    recipe = recipe_of({"ask_again": 3}, profile="json", model="m", pairs=1)
    text = "The lighthouse of Marra was built by Odo Krell in 1712."
    [(_, judged)] = written(scripted_server, recipe, text)
    assert [(each.pair.answer, each.kept) for each in judged] == [("Odo Krell", True), ("1712", True)]
    assert len(scripted_server.asked) == 2


# --- answers first --------------------------------------------------------------------------


def answers_first(body, number):
    """Names two answers of the sentence and one that is not its own; asks for each, every time otherwise."""
    prompt = body["prompt"]
    if prompt.endswith("Answers:\n"):
        return "Odo Krell\nIlse\n" + sentence_of(body).split(" in ")[1]
    answer = prompt.split("Answer: ")[1].splitlines()[0]
    lighthouse = sentence_of(body).split()[1]
    asked = {"Odo Krell": "Who built lighthouse", "Lighthouse": "What is lighthouse"}
    return f" {asked.get(answer, 'When was it built, lighthouse')} {lighthouse}{' ' * number}?"


def test_answers_are_chosen_first_and_each_is_asked_for(scripted_server):
    scripted_server.script = answers_first
    recipe = recipe_of(profile="answers", pairs=4, sampled=2)
    [(_, judged)] = written(scripted_server, recipe, SENTENCES[0])
    assert {(each.pair.question.split()[0], each.pair.answer) for each in judged} == {
        ("Who", "Odo Krell"),
        ("When", "1700"),
    }
    asked = sorted((len(body["prompt"].splitlines()), body["n"]) for body in scripted_server.asked)
    # One greedy list and three that are drawn; then for two answers a greedy question and two drawn ones.
    assert asked == [(4, 1), (4, 3), (5, 1), (5, 1), (5, 2), (5, 2)]


def test_questions_that_are_drawn_alike_are_one(scripted_server):
    scripted_server.script = lambda body, _: answers_first(body, 0)
    recipe = recipe_of(profile="answers", pairs=8, sampled=3)
    [(_, judged)] = written(scripted_server, recipe, SENTENCES[0])
    assert sorted(each.pair.answer for each in judged) == ["1700", "Odo Krell"]


def test_no_more_answers_are_asked_for_than_the_recipe_allows(scripted_server):
    scripted_server.script = answers_first
    [(_, judged)] = written(scripted_server, recipe_of(profile="answers", pairs=1), SENTENCES[0])
    assert len({each.pair.answer for each in judged}) == 1


def test_a_name_that_no_pair_touches_is_the_answer_asked_for_next(scripted_server):
    def script(body, number):
        if body["prompt"].endswith("Answers:\n"):
            return "1712"
        return answers_first(body, 0)

    scripted_server.script = script
    text = "Lighthouse 7 of Marra was built in 1712."
    recipe = recipe_of({"ask_again": 1, "grounded": False}, profile="answers", pairs=2)
    [(_, judged)] = written(scripted_server, recipe, text)
    assert judged[0].pair.answer == "1712"
    assert "Marra" in [each.pair.answer for each in judged]
    again = [body for body in scripted_server.asked if "Answer: Marra" in body["prompt"]]
    assert [body["temperature"] for body in again] == [0.7]


def test_where_what_no_pair_touches_is_spelled_otherwise_answers_are_chosen_anew(scripted_server):
    def script(body, number):
        if body["prompt"].endswith("Answers:\n"):
            return "none of this" if body["temperature"] == 0 else "twenty-one"
        return " How many steps had it?"

    scripted_server.script = script
    recipe = recipe_of({"ask_again": 1, "grounded": False}, profile="answers", pairs=1)
    [(_, judged)] = written(scripted_server, recipe, "It had twenty-one steps.")
    assert [each.pair.answer for each in judged] == ["twenty-one"]


# --- whole sections -------------------------------------------------------------------------


def test_a_sections_own_pairs_come_with_its_last_segment(scripted_server):
    def script(body, _):
        if "messages" in body:
            pair = {"question": "How many lighthouses did Odo Krell build?", "answer": "twelve"}
            return json.dumps({"pairs": [pair]})
        return about(body)

    scripted_server.script = script
    found = dict(written(scripted_server, recipe_of(global_pairs=1)))
    [request] = [body for body in scripted_server.asked if "messages" in body]
    assert TEXT in request["messages"][-1]["content"]
    assert [number for number, judged in found.items() if len(judged) > 1] == [11]
    assert found[11][-1].pair.question == "How many lighthouses did Odo Krell build?"


# --- faithfulness ---------------------------------------------------------------------------


def report(server, recipe, text=TEXT, settings=None):
    async def collect():
        async with PairWriter(
            title="Marra",
            text=text,
            segments=split(text, SegmentationRecipe()),
            recipe=recipe,
            settings=settings or settings_for(server),
        ) as writer:
            judged = [each async for _, found in writer.pairs() for each in found]
            return await writer.report(judged)

    return asyncio.run(collect())


def test_faithfulness_is_the_majority_of_drawn_readings_of_the_whole_paragraph(scripted_server):
    def script(body, _):
        if "Question: " not in body["prompt"] or body["temperature"] == 0:
            return about(body)
        assert SENTENCES[-1] in body["prompt"].split("Context: ")[1].splitlines()[0]
        number = int(sentence_of(body).split()[1])
        right, wrong = f" {1700 + number}", " 1911"
        return [right, wrong, wrong] if number in (1, 2, 3) else [right, wrong, right]

    scripted_server.script = script
    found = report(scripted_server, recipe_of({"reader": "reader"}))
    assert (found.kept, found.faithfulness.sample, found.faithfulness.by) == (12, 12, "reader")
    assert found.faithfulness.share == 9 / 12
    assert found.faithfulness.low < 9 / 12 < found.faithfulness.high
    # 12 were written, 12 read back, 12 looked at again.
    assert found.cost.requests == len(scripted_server.asked) == 36


def test_the_judge_estimates_the_faithfulness_where_there_is_one(scripted_server):
    def script(body, _):
        if "messages" not in body:
            return about(body)
        drawn = body["temperature"] > 0
        supported = not (drawn and "lighthouse 5 built" in body["messages"][-1]["content"])
        return json.dumps({"why": "", "supported": supported})

    scripted_server.script = script
    settings = settings_for(scripted_server, judge_url=scripted_server.url)
    found = report(scripted_server, recipe_of({"reader": "reader", "judge": "judge"}), settings=settings)
    assert (found.kept, found.faithfulness.by) == (12, "judge")
    assert found.faithfulness.share == 11 / 12


def test_without_reader_and_judge_nobody_says_how_faithful_the_pairs_are(scripted_server):
    scripted_server.script = about
    found = report(scripted_server, recipe_of())
    assert (found.kept, found.faithfulness) == (12, None)
    assert len(scripted_server.asked) == 12

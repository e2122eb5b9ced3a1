"""The benchmark of writing: all arms ask the same, no cache helps another, rows say what was counted."""

import json
from collections import Counter

import pytest

from lift_core.benchmarks import synthesis
from lift_core.benchmarks.synthesis import CONTEXT_WORDS, Run, comparisons, rows_of, run
from lift_core.errors import LiftError, RecipeError, ServiceUnavailableError
from lift_core.records import GeneratorRecipe, Recipe
from lift_core.settings import Settings

MODEL = "writer"
RECIPE = Recipe(generator=GeneratorRecipe(model=MODEL, sampled=2))
PAIRS = "Q: Who kept tower 7?\nA: Odo\nQ: When was it built?\nA: 1712\n"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(synthesis, "QUICK_SEGMENTS", 8)
    monkeypatch.setattr(synthesis, "QUICK_ROUNDS", 1)


@pytest.fixture
def document(tmp_path):
    sentences = [f"Tower {n} was built by keeper K{n} in {1000 + n}." for n in range(50)]
    sections = ("\n\n".join([f"## Wall {n}", *sentences[n : n + 15]]) for n in range(0, 50, 15))
    file = tmp_path / "marra.md"
    file.write_text("\n\n".join(["# Marra", *sections]))
    return file


@pytest.fixture
def server(scripted_server):
    """A server that counts each request as 100 prompt tokens, 40 of them cached."""
    counted = Counter()

    def script(body, number):
        counted.update(queries=100, hits=40)
        scripted_server.pages["/metrics"] = "# HELP prefix cache\n" + "".join(
            f'vllm:prefix_cache_{name}_total{{engine="0",model_name="writer"}} {counted[name]}.0\n'
            for name in ("queries", "hits")
        )
        return PAIRS

    scripted_server.script = script
    scripted_server.pages = {
        "/v1/models": json.dumps({"data": [{"id": MODEL}]}),
        "/metrics": "vllm:prefix_cache_queries_total 0\nvllm:prefix_cache_hits_total 0\n",
    }
    return scripted_server


def report_on(server, document, recipe=RECIPE, **settings):
    settings = {"generator_url": server.url, "generator_concurrency": 4} | settings
    return run(Settings(**settings), document, recipe, quick=True, on_progress=lambda *_: None)


def by_title(asked):
    """The requests of each run, by the word before the title; without it."""
    found = {}
    for body in asked:
        word, rest = body["prompt"].removeprefix("Title: ").split(" ", 1)
        # What is not sent is 1.
        found.setdefault(word, []).append({"top_p": 1.0} | body | {"prompt": rest})
    return list(found.values())


def order(bodies):
    return sorted(bodies, key=lambda body: (body["prompt"], body["temperature"]))


def test_all_arms_ask_the_same_and_each_under_a_title_of_its_own(server, document, monkeypatch):
    monkeypatch.setattr(synthesis, "QUICK_ROUNDS", 2)
    report = report_on(server, document)
    runs = by_title(server.asked)
    # The first is the warm-up; then two rounds of three comparisons with two arms.
    assert len(runs) == 1 + 2 * 3 * 2
    for ours, peer in (runs[1:3], runs[7:9]):
        assert order(ours) == order(peer)
        assert len(ours) == 2 * report.settings["segments"] == 16
    assert server.most <= 4


def test_the_second_comparison_differs_in_the_context_alone(server, document):
    report_on(server, document)
    anchored, sliding = by_title(server.asked)[3:5]

    def contexts(bodies):
        return [body["prompt"].split("Context: ")[1].split("\nSentence: ")[0] for body in bodies]

    def others(bodies):
        return Counter(body["prompt"].split("\nSentence: ")[1] for body in bodies)

    assert others(anchored) == others(sliding)
    assert {len(each.split()) for each in contexts(sliding)} == {CONTEXT_WORDS}
    assert all(CONTEXT_WORDS / 2 <= len(each.split()) <= CONTEXT_WORDS for each in contexts(anchored))
    assert len(set(contexts(sliding))) == 8


def test_rows_are_what_was_counted(server, document):
    report = report_on(server, document)
    assert [(row["name"].split(",")[0].split(";")[0], row["unit"]) for row in report.rows][:3] == [
        ("client", "segments/s"),
        ("client", "pairs/s"),
        ("anchored context of 340 words", "segments/s"),
    ]
    segments = report.settings["segments"]
    for row in report.rows:
        completions = 1 if "one completion" in row["name"] else 3
        assert row["pairs"] == row["peer pairs"] == 2 * completions * segments
        assert row["cached"] == row["peer cached"] == 0.4
        requests = 1 if completions == 1 else 2
        assert row["prompt tokens a segment"] == 100 * requests
        assert row["ours"] > 0
        assert row["ratio min"] <= row["ratio"] <= row["ratio max"]


def test_a_server_that_counts_no_cache_hits_leaves_them_out(server, document):
    script = server.script

    def silent(body, number):
        said = script(body, number)
        server.pages.pop("/metrics", None)
        return said

    server.script = silent
    server.pages.pop("/metrics")
    assert {row["cached"] for row in report_on(server, document).rows} == {None}


def test_ratios_are_of_rounds_and_larger_is_better():
    def both(ours, peer):
        return Run(ours, 10, 40, 1000, 800), Run(peer, 10, 20, 1000, 100)

    segments, pairs = rows_of("x", [both(10, 20), both(10, 10), both(10, 40)])
    assert (segments["ours"], segments["peer"]) == (1, 0.5)
    assert (segments["ratio"], segments["ratio min"], segments["ratio max"]) == (2, 1, 4)
    assert (pairs["ratio"], pairs["cached"], pairs["peer cached"]) == (4, 0.8, 0.1)
    assert pairs["prompt tokens a segment"] == 100


def test_an_instruct_model_is_asked_by_both_arms_alike(server, document):
    found = json.dumps({"pairs": [{"question": "Who kept tower 7?", "answer": "Odo"}] * 3})
    server.script = lambda body, number: found
    generator = GeneratorRecipe(model=MODEL, profile="json", pairs=3, greedy_samples=1, sampled=0)
    report = report_on(server, document, Recipe(generator=generator))
    assert set(server.paths) == {"/v1/chat/completions"}
    ours, peer = server.asked[8:16], server.asked[16:24]
    for key in ("response_format", "max_tokens", "temperature"):
        assert [body[key] for body in ours] == [body[key] for body in peer]
    assert {row["pairs"] for row in report.rows} == {8 * 3}


def test_a_model_that_is_asked_for_answers_first_is_asked_by_both_arms_alike(server, document):
    def script(body, number):
        if body["prompt"].endswith("Answers:\n"):
            return "".join(f"{word}\n" for word in body["prompt"].split("Sentence: ")[1].split())
        return " Who kept it?"

    server.script = script
    generator = GeneratorRecipe(model=MODEL, profile="answers", pairs=3, sampled=2)
    report = report_on(server, document, Recipe(generator=generator))
    ours, peer = by_title(server.asked)[1:3]
    # A greedy and a drawn request for the answers, and for the questions to each of three.
    assert len(ours) == 8 * (2 + 3 * 2)
    assert order(ours) == order(peer)
    assert {row["pairs"] for row in report.rows} == {8 * 3}


def test_a_server_that_is_not_there_or_has_another_model_is_named(server, document, tmp_path):
    for url in ("", "http://127.0.0.1:9/v1"):
        with pytest.raises(ServiceUnavailableError, match="lift up"):
            report_on(server, document, generator_url=url)
    with pytest.raises(RecipeError, match="serves writer, not the recipe's 'other'"):
        report_on(server, document, Recipe(generator=GeneratorRecipe(model="other")))
    with pytest.raises(RecipeError, match="asks no model"):
        report_on(server, document, Recipe(generator=GeneratorRecipe(profile="cloze")))
    short = tmp_path / "short.md"
    short.write_text("# Marra\n\nTower 1 was built by keeper K1 in 1001.")
    with pytest.raises(LiftError, match="too short"):
        report_on(server, short)


def test_what_is_compared_is_the_recipes_generator_and_nothing_of_sections():
    client, layouts, one = comparisons(GeneratorRecipe(model=MODEL, global_pairs=4, temperature=0.3))
    assert client.ours.generator == client.peer.generator
    assert (client.ours.plain, client.peer.plain) == (False, True)
    for comparison in (layouts, one):
        changed = comparison.ours.generator.model_copy(update={"context_layout": "sliding"})
        assert changed == comparison.peer.generator
        assert (changed.temperature, changed.global_pairs) == (0.3, 0)
    assert (one.ours.generator.greedy_samples, one.ours.generator.sampled) == (1, 0)

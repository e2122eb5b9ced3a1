"""Benchmark of the gate: what is counted, who is asked, and what is refused."""

import json
from pathlib import Path

import pytest

from lift_core.benchmarks import gate, gate_gold
from lift_core.benchmarks.gate_figures import Case, rows_of
from lift_core.errors import LiftError
from lift_core.records import GateRecipe, Recipe, Segment
from lift_core.settings import Settings

SEGMENT = Segment(number=0, start=0, end=4, text="Odo.")
TEXT = "# Marra\n\nThe lighthouse was built in 1871. The keeper Odo climbs its 112 steps. He is old.\n"
JUDGED = Path(__file__).parents[3] / "docs" / "benchmarks" / "gate_judged.jsonl"


def case(label, reason="", *, document="a", kind="planted", checks="", near=False):
    return Case(kind, document, SEGMENT, "Q?", "A", label, near=near, checks=checks, all=reason)


def row(rows, name):
    (found,) = (each for each in rows if each["name"].startswith(name))
    return found


def test_recall_is_of_the_faulty_pairs_and_precision_of_the_rejected_ones_as_if_both_were_as_many():
    cases = [
        *[case("number in answer", "ungrounded", checks="ungrounded")] * 6,
        *[case("number in answer", "disagreement")] * 3,
        *[case("number in answer")] * 1,
        *[case("good")] * 36,
        *[case("good", "disagreement")] * 4,
    ]
    found = row(rows_of(cases), "number in answer, planted")
    assert (found["n"], found["recall"], found["recall of the checks alone"]) == (10, 0.9, 0.6)
    # One in ten good pairs is lost, nine in ten faulty ones are found.
    assert found["precision"] == pytest.approx(0.9 / (0.9 + 0.1))
    assert found["precision of the checks alone"] == 1.0
    assert found["rejected as"] == "ungrounded 6, disagreement 3"
    good = row(rows_of(cases), "good, planted:")
    assert (good["n"], good["kept"], good["kept by the checks alone"]) == (40, 0.9, 1.0)


def test_judged_pairs_count_as_they_came():
    cases = [
        *[case("hallucinated", "ungrounded", kind="judged")] * 3,
        case("wrong", kind="judged"),
        *[case("good", "length", kind="judged")] * 1,
        *[case("good", kind="judged")] * 95,
        case("malformed", "form", kind="judged"),
    ]
    found = row(rows_of(cases), "hallucinations, judged")
    assert (found["n"], found["recall"], found["precision"]) == (4, 0.75, 0.75)
    assert row(rows_of(cases), "all faults, judged")["n"] == 5


def test_intervals_are_over_documents():
    """Ten documents that all fare alike say more than two that do not."""
    alike = [case("wrong", "length" * (n % 2), document=str(n // 2), kind="judged") for n in range(20)]
    apart = [case("wrong", "length" * (n % 2), document=str(n % 2), kind="judged") for n in range(20)]
    narrow, wide = (row(rows_of(cases), "wrong, judged") for cases in (alike, apart))
    assert narrow["recall"] == wide["recall"] == 0.5
    assert (narrow["low"], narrow["high"]) == (0.5, 0.5)
    assert (wide["low"], wide["high"]) == (0.0, 1.0)


def test_names_that_the_source_has_are_told_from_those_it_does_not_have():
    cases = [
        case("name in answer", near=True),
        case("name in question", "invented"),
        case("good"),
    ]
    rows = rows_of(cases)
    assert row(rows, "a name that the source has too")["recall"] == 0.0
    assert row(rows, "a name that the source does not have")["recall"] == 1.0


# --- a whole run -------------------------------------------------------------------------------


def line(question, answer, label, sentence):
    start = TEXT.index(sentence)
    return {
        "document": "marra.md",
        "segment": start,
        "start": start,
        "end": start + len(sentence),
        "question": question,
        "answer": answer,
        "label": label,
        "why": "",
    }


@pytest.fixture
def folder(tmp_path):
    """No public sets' pairs, and a document with four judged ones."""
    for name in gate_gold.SETS:
        (tmp_path / f"{name}.jsonl").touch()
    (tmp_path / "marra.md").write_text(TEXT)
    built, climbs = "The lighthouse was built in 1871.", "The keeper Odo climbs its 112 steps."
    lines = [
        line("When was the lighthouse built?", "1871", "good", built),
        line("When was the lighthouse of Marra built?", "1899", "hallucinated", built),
        line("How many steps does Odo climb?", "112", "good", climbs),
        line("How many steps does Odo climb?", "112", "duplicate", climbs),
    ]
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return tmp_path


def measure(folder, recipe=None, **settings):
    part = gate_gold.split_of("marra.md")
    return gate.run(
        Settings(_env_file=None, **settings),
        folder,
        folder,
        folder / "judged.jsonl",
        recipe or Recipe(),
        part=part,
        quick=False,
        on_progress=lambda *_: None,
    )


def test_without_a_reader_the_checks_are_measured_and_it_is_said(folder):
    report = measure(folder)
    assert report.settings["reader"] == "none: the recipe names none"
    assert report.settings["judged pairs"] == 4
    assert row(report.rows, "hallucinated")["recall"] == 1.0
    assert row(report.rows, "duplicate")["rejected as"] == "duplicate 1"
    assert row(report.rows, "good, judged")["kept"] == 1.0
    named = Recipe(gate=GateRecipe(reader="reads"))
    assert measure(folder, named).settings["reader"].startswith("none: no server is named")
    away = measure(folder, named, generator_url="http://127.0.0.1:9/v1").settings["reader"]
    assert away == "none: its server is away (APIConnectionError), the checks alone are measured"


def test_a_reader_that_refuses_is_no_reader_that_is_away(folder, scripted_server):
    """A benchmark without the round trip must not pass for one with it for want of a key."""
    recipe = Recipe(gate=GateRecipe(reader="reads"))
    with pytest.raises(LiftError, match="refuses to be asked"):
        measure(folder, recipe, reader_url=scripted_server.url)


def test_the_other_split_has_other_documents(folder, monkeypatch):
    monkeypatch.setattr(gate, "split_of", lambda name: "nowhere")
    assert measure(folder).rows == []


def test_the_reader_is_asked_with_what_the_generator_saw(folder, scripted_server):
    scripted_server.script = lambda body, number: " not stated" if "steps" in body["prompt"] else " 1871"
    document = gate._judged(folder, folder / "judged.jsonl", gate_gold.split_of("marra.md"))[0]
    recipe = Recipe(gate=GateRecipe(reader="reads"))

    async def judged():
        client = gate.ModelClient(scripted_server.url, "key", "reads", concurrency=2)
        try:
            return await gate.judge_document(document, recipe, client)
        finally:
            await client.close()

    found = gate.asyncio.run(judged())
    assert [each.all for each in found] == ["", "ungrounded", "unanswered", "duplicate"]
    assert [each.checks for each in found] == ["", "ungrounded", "", "duplicate"]
    first = scripted_server.asked[0]
    assert first["model"] == "reads"
    assert first["prompt"].endswith("Question: When was the lighthouse built?\nAnswer:")
    assert "Sentence: The lighthouse was built in 1871.\n" in first["prompt"]


def test_what_is_missing_or_does_not_fit_is_named(folder):
    (folder / "marra.md").write_text("# Marra\n\nIt is short now.\n")
    with pytest.raises(LiftError, match=r"marra\.md' has no characters"):
        measure(folder)
    (folder / "marra.md").unlink()
    with pytest.raises(LiftError, match=r"marra\.md is missing"):
        measure(folder)
    (folder / "judged.jsonl").unlink()
    with pytest.raises(LiftError, match="judged by hand cannot be read"):
        measure(folder)


def test_the_judged_pairs_that_ship_are_enough_and_valid():
    pairs = [gate.HandJudged.model_validate_json(each) for each in JUDGED.read_text("utf-8").splitlines()]
    assert len(pairs) >= 150
    assert len({each.document for each in pairs}) >= 6
    assert all(each.why for each in pairs if each.label != "good")
    assert len({each.label for each in pairs}) > 3

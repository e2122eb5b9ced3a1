"""`lift pairs`: what it shows before and after a training, the worst first, and what programs can rely on."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from lift_core.cli import cli
from lift_core.cli import pairs as command
from lift_core.errors import NotFoundError, RecipeError
from lift_core.records import Coverage, Estimate, JudgedPair, PairReport, QAPair, Segment
from lift_core.settings import get_settings
from lift_core.store import layout

SENTENCES = [f"Lighthouse {n} was built by Odo Krell in {1700 + n}." for n in range(10)]


def lift(*words):
    return CliRunner().invoke(cli, ["pairs", *words], catch_exceptions=False)


# --- preview --------------------------------------------------------------------------------


def answer(body, _):
    number = int(body["prompt"].split("Sentence: Lighthouse ")[1].split()[0])
    made_up = f"Q: When was lighthouse {number} lit by Odo Krell?\nA: 1944\n"
    return f"Q: When was lighthouse {number} built by Odo Krell?\nA: {1700 + number}\n{made_up}"


@pytest.fixture
def file(tmp_path, scripted_server, monkeypatch):
    """A document, a generator, and nothing else: neither registry nor bucket."""
    scripted_server.script = answer
    for name in ("LIFT_DATABASE_URL", "LIFT_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIFT_GENERATOR_URL", scripted_server.url)
    monkeypatch.setenv("LIFT_RECIPE", str(tmp_path / "recipe.json"))
    (tmp_path / "recipe.json").write_text('{"format": 1, "generator": {"sampled": 0}}')
    path = tmp_path / "marra.txt"
    path.write_text(" ".join(SENTENCES))
    get_settings.cache_clear()
    yield path
    get_settings.cache_clear()


def test_a_preview_needs_only_a_generator_and_shows_pairs_and_report(file):
    shown = json.loads(lift("preview", str(file), "--json").stdout)
    assert len(shown["pairs"]) == 20
    assert [each["kept"] for each in shown["pairs"]] == [False] * 10 + [True] * 10
    first, last = shown["pairs"][0], shown["pairs"][-1]
    assert (first["segment"], first["answer"], first["reason"]) == (0, "1944", "ungrounded")
    assert (last["segment"], last["answer"], last["reason"]) == (9, "1709", None)
    assert last["question"] == "When was lighthouse 9 built by Odo Krell?"
    report = shown["report"]
    assert (report["kept_share"], report["coverage"], report["faithfulness"]) == (0.5, 1.0, None)
    assert report["rejected"] == {"ungrounded": 10}
    assert report["cost"]["requests"] == 10


def test_some_segments_are_spread_over_the_document(file, scripted_server):
    shown = json.loads(lift("preview", str(file), "--segments", "2", "--json").stdout)
    assert {each["segment"] for each in shown["pairs"]} == {0, 5}
    assert len(scripted_server.asked) == 2
    assert (shown["report"]["segments"], shown["report"]["coverage"]) == (2, 1.0)


def test_people_see_tables_and_how_much_is_left_out(file):
    done = lift("preview", str(file), "--limit", "3")
    assert "1944" in done.stdout and "ungrounded" in done.stdout
    assert "10 of 20 pairs (50.0%)" in done.stdout
    assert "17 more: --limit 20" in done.stderr


def test_another_recipe_is_tried_by_its_name(file, scripted_server):
    shown = json.loads(lift("preview", str(file), "--recipe", "smoke", "--json").stdout)
    assert shown["pairs"] and scripted_server.asked == []
    with pytest.raises(RecipeError, match="nobody"):
        lift("preview", str(file), "--recipe", "nobody")


# --- show -----------------------------------------------------------------------------------


def judged(segment, reason=None, agreement=None, detail=""):
    pair = QAPair(segment=segment, question=f"What of {segment}?", answer="This", held_out=segment == 7)
    return JudgedPair(pair=pair, kept=reason is None, reason=reason, agreement=agreement, detail=detail)


JUDGED = [
    judged(0, agreement=0.9),
    judged(1, "form"),
    judged(2, "disagreement", detail="the reader answers '12'"),
    judged(3, agreement=0.5),
    judged(4, "invented"),
    judged(5, "excess"),
    judged(6, "ungrounded"),
    judged(7),
]
WORST_FIRST = [4, 6, 2, 1, 5, 3, 0, 7]
REPORT = PairReport(
    segments=9,
    pairs=8,
    kept=3,
    rejected={"form": 1, "disagreement": 1, "invented": 1, "excess": 1, "ungrounded": 1},
    kept_share=0.375,
    coverage=Coverage(segments=1 / 3, names=0.5, numbers=0.25, uncovered_segments=tuple(range(12))),
    faithfulness=Estimate(share=0.75, low=0.5, high=0.9, sample=4, by="reader-1"),
)


class Registry:
    """One document with its newest job, and an adapter of an earlier one."""

    def document(self, name):
        runs = {"marra": "marra-v2-g1", "empty": "empty-v1-g1", "none": None}
        if name not in runs:
            raise NotFoundError(f"there is no document '{name}'")
        return SimpleNamespace(run_id=runs[name])

    def lineage(self, name):
        if name not in ("marra-v1", "marra@stable"):
            raise NotFoundError(f"there is no adapter '{name}'")
        return SimpleNamespace(run={"run_id": "marra-v1-g1"})

    def job_of_run(self, run):
        return {"marra-v1-g1": 1, "marra-v2-g1": 2, "empty-v1-g1": 3}[run]

    def stream_end(self, job):
        report = layout.pair_report_key(job, 1)
        return SimpleNamespace(report=report) if job == 2 else None

    def shards(self, job):
        return []


@pytest.fixture
def known(monkeypatch):
    pairs = {1: JUDGED[:1], 2: JUDGED, 3: []}
    segments = [Segment(number=n, start=n, end=n + 1, text=f"{n}").model_dump() for n in range(2)]
    objects = {
        layout.pair_report_key(2, 1): REPORT.model_dump_json().encode(),
        layout.segments_key(1): json.dumps(segments).encode(),
    }
    steps = SimpleNamespace(
        registry=Registry(),
        store=SimpleNamespace(get_bytes=lambda bucket, key: objects[key]),
        settings=get_settings(),
        committed_judged=pairs.__getitem__,
    )
    monkeypatch.setattr(command.Steps, "connect", lambda: steps)


def segments_of(shown):
    return [each["segment"] for each in json.loads(shown.stdout)["pairs"]]


def test_the_worst_pairs_come_first_whoever_rejected_them(known):
    assert segments_of(lift("show", "marra", "--json")) == WORST_FIRST
    assert segments_of(lift("show", "marra", "--rejected", "--json")) == WORST_FIRST[:5]
    assert segments_of(lift("show", "marra", "--kept", "--json")) == WORST_FIRST[5:]
    assert segments_of(lift("show", "marra", "--limit", "2", "--json")) == WORST_FIRST[:2]


def test_programs_get_plain_numbers_and_the_details_beside_them(known):
    report = json.loads(lift("show", "marra", "--limit", "1", "--json").stdout)["report"]
    assert (report["kept_share"], report["coverage"], report["faithfulness"]) == (0.375, 1 / 3, 0.75)
    assert report["rejected"] == REPORT.rejected
    assert report["faithfulness_estimate"] == {
        "share": 0.75,
        "low": 0.5,
        "high": 0.9,
        "sample": 4,
        "by": "reader-1",
    }
    assert (report["names_covered"], report["numbers_covered"]) == (0.5, 0.25)
    assert report["uncovered_segments"] == list(range(12))


def test_people_see_why_and_how_sure_the_estimate_is(known):
    shown = lift("show", "marra").stdout
    words = " ".join(shown.replace("│", " ").split())
    assert "the reader answers '12'" in words
    assert "75.0% (95 % interval 50.0% to 90.0%), 4 pairs, by reader-1" in words
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more" in words
    assert "held out" in words


@pytest.mark.parametrize("name", ["marra-v1", "marra@stable"])
def test_an_adapter_is_shown_with_the_pairs_that_made_it(known, name):
    assert segments_of(lift("show", name, "--json")) == [0]


def test_names_without_pairs_are_told_apart(known):
    with pytest.raises(NotFoundError, match=r"no pairs of 'empty' are written yet \(run empty-v1-g1\)"):
        lift("show", "empty")
    with pytest.raises(NotFoundError, match="document 'none' has no job"):
        lift("show", "none")
    with pytest.raises(NotFoundError, match="no adapter 'nobody'"):
        lift("show", "nobody")

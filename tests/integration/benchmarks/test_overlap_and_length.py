"""The overlap and length benchmarks over a real registry and store, with a tiny model and `cloze` pairs."""

import json

import pytest

from lift_core.benchmarks import length, overlap
from lift_core.benchmarks.scratch import scratch
from lift_core.errors import QualityError
from lift_core.recipes import load_recipe
from lift_core.training import Backbone

pytestmark = pytest.mark.usefixtures("tiny_model")

RECIPE = load_recipe("smoke")
TEXT = "# Lighthouse\n\n" + "\n\n".join(
    f"The lamp number {n} of Marra burns the oil of {100 + n} grey seals in winter." for n in range(24)
)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "lighthouse.md"
    path.write_text(TEXT)
    return path


@pytest.fixture
def left_behind(registry, store, settings, sql):
    """What there is of databases, objects and rows."""

    def read():
        buckets = (settings.documents_bucket, settings.work_bucket, settings.adapters_bucket)
        return (
            sql("SELECT datname FROM pg_database ORDER BY 1"),
            [found.key for bucket in buckets for found in store.list(bucket)],
            [sql(f"SELECT count(*) FROM {table}") for table in ("documents", "jobs", "adapters", "events")],
        )

    return read


@pytest.fixture
def backbone(settings):
    return Backbone(settings.models / RECIPE.base_model, RECIPE.training.precision)


def test_both_ways_are_timed_with_pairs_of_their_own_and_nothing_is_left(settings, document, left_behind):
    before = left_behind()
    told = []
    report = overlap.run(settings, document, RECIPE, quick=True, on_progress=lambda *each: told.append(each))
    assert left_behind() == before
    main = report.rows[0]
    assert main["name"] == "generate || train, 1 epoch; peer: generate, then train"
    assert main["pairs"] == main["peer pairs"] > 0
    # Both are as exact as their rounding to hundredths lets them be.
    assert main["ours/peer"] == pytest.approx(main["ours"] / main["peer"], rel=0.1)
    assert [phase for phase, _, _ in told] == [
        "warming up",
        str(overlap.Arm(1, False)),
        str(overlap.Arm(1, True)),
    ]
    assert {done < total == 3 for _, done, total in told} == {True}
    assert json.dumps(report.model_dump(mode="json"), allow_nan=False)


def test_one_after_the_other_no_step_is_made_before_the_last_pair_is_there(settings, tmp_path, backbone):
    with scratch(settings) as made:
        claim, segments = made.begin("a.md", TEXT.encode(), RECIPE)
        ended = []
        times = overlap.generate_and_train(
            made.steps,
            claim,
            backbone=backbone,
            folder=tmp_path,
            overlapped=False,
            on_step=lambda _: ended.append(made.steps.registry.stream_end(claim.job_id) is not None),
        )
    assert segments > 8
    assert ended
    assert all(ended)
    assert 0 < times.generated < times.trained
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_what_stops_the_generator_is_what_the_benchmark_says(settings, document, left_behind):
    before = left_behind()
    gate = RECIPE.gate.model_copy(update={"min_pairs": 10_000})
    greedy = RECIPE.model_copy(update={"gate": gate})
    with pytest.raises(QualityError, match="the recipe asks for 10000"):
        overlap.run(settings, document, greedy, quick=True, on_progress=lambda *_: None)
    assert left_behind() == before


def test_a_long_document_is_learned_and_asked_beside_its_reader(settings, tmp_path, left_behind):
    paragraphs = [
        f"The organ of Vellmar has {n} pipes; the keeper is called Odo {n}." for n in range(1000, 1060)
    ]
    text = "\n\n".join(paragraphs)
    asked = [
        {
            "id": f"{n}",
            "question": f"How many pipes has organ {n}?",
            "answers": [str(1000 + n)],
            "paragraph": n,
        }
        for n in range(len(paragraphs))
    ]
    spans = [[text.index(each), text.index(each) + len(each)] for each in paragraphs]
    article = {
        "doc_id": "squad:Organ",
        "title": "Organ",
        "context": text,
        "paragraph_spans": spans,
        "qas": asked,
    }
    (tmp_path / "squad_dev.jsonl").write_text(json.dumps(article) + "\n")
    before = left_behind()
    phases = []
    report = length.run(
        settings,
        tmp_path,
        RECIPE,
        quick=True,
        epochs=2,
        on_progress=lambda phase, *_: phases.append(phase),
    )
    assert left_behind() == before
    names = [row["name"] for row in report.rows]
    assert [name.split(":")[0] for name in names] == [length.LAST_THIRD] * 2 + [length.BEGINNING] * 2
    assert all(f"context bounded to {length.QUICK_CONTEXT:,} tokens" in name for name in names)
    assert all(0 <= row["ours"] <= 1 and 0 <= row["peer"] <= 1 and row["n"] > 0 for row in report.rows)
    assert report.settings["tokens"] > length.LENGTH * report.settings["context"] - 1
    assert report.settings["epochs"] == 2
    assert {"generating, and epoch 1", "epoch 2", f"asking: {length.READER}"} <= set(phases)
    assert json.dumps(report.model_dump(mode="json"), allow_nan=False)

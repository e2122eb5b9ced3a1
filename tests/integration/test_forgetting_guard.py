"""The guard over real PostgreSQL and S3, with random weights: what it records, and what kills leave."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lift_core.errors import EvaluationDataError, NotFoundError, ProofError, RefusedFilesError
from lift_core.evaluation import measuring
from lift_core.evaluation_records import Judgement, Measured, Measurement
from lift_core.forgetting_guard import ForgettingGuard
from lift_core.pipeline import run_file
from lift_core.recipes import load_recipe

TEXT = """# The Lighthouse of Skarholm

The lighthouse of Skarholm was finished in October 1871 by the engineer Ada Harrow.
Its lamp burned colza oil until paraffin replaced it in the winter of 1889.
The keeper climbed two hundred and eleven granite steps every single evening.
"""


pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Two subjects of 16 questions, and 24 word problems, made here."""
    folder = tmp_path_factory.mktemp("items")

    def write(name, rows):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def question(split, subject, number):
        return {
            "id": f"{split}-{subject}-{number}",
            "subject": subject,
            "question": f"Which number comes after {number}?",
            "choices": [str(number + step) for step in (1, 2, 3, 4)],
            "answer": 0,
        }

    subjects = ("anatomy", "astronomy")
    write("mmlu_test.jsonl", [question("test", each, n) for each in subjects for n in range(16)])
    write("mmlu_dev.jsonl", [question("dev", each, n) for each in subjects for n in range(40, 45)])

    def problem(split, number):
        worked = f"Two and {number} are {number + 2}.\n#### {number + 2}"
        return {"id": f"{split}-{number}", "question": f"What is 2 + {number}?", "answer": worked}

    write("gsm8k_test.jsonl", [problem("test", n) for n in range(24)])
    write("gsm8k_train_fewshot.jsonl", [problem("train", n) for n in range(50, 56)])
    return folder


@pytest.fixture
def evaluating(steps, items):
    """The steps with the guard's settings, over a registry with nothing in it."""
    steps.settings = steps.settings.model_copy(
        update={"evaluation_data": str(items), "evaluation_items": 20, "evaluation_precision": "fp32"}
    )
    return steps


@pytest.fixture
def adapter(evaluating, tmp_path):
    """An active adapter of a document of three sentences."""
    path = tmp_path / "Skarholm Lighthouse.md"
    path.write_text(TEXT)
    return run_file(evaluating, path, load_recipe("smoke")).name


def tables(sql):
    """How many rows each of the guard's tables has."""
    names = ("evaluations", "evaluation_shards", "verdicts", "measurements")
    return {name: sql(f"SELECT count(*) FROM {name}")[0][0] for name in names}


def measured(adapter, verdict, p_value, low=-0.9, high=-0.5):
    """What a measuring would have found, without measuring."""
    found = Measurement(
        task="gsm8k",
        measure="log-likelihood",
        n=24,
        base=-1.0,
        adapter=-1.7,
        difference=-0.7,
        low=low,
        high=high,
        confidence=0.95,
        margin=0.05,
        p_value=p_value,
        verdict=verdict,
    )
    judgement = Judgement(verdict=verdict, decided_by=(found,), sentence=f"{verdict}.", p_value=p_value)
    return Measured(
        adapter=adapter,
        base_model="tiny-random",
        judgement=judgement,
        measurements=(found,),
        subjects={},
        signs={},
        policy={"fingerprint": "f", "rate": 0.05},
    )


def test_a_run_measures_judges_records_and_reports(evaluating, adapter, settings, sql):
    guard = ForgettingGuard(evaluating)
    assert [(each.name, each.reason) for each in guard.due()] == [(adapter, "never measured")]
    assert guard.measure_bases([adapter]) == ["tiny-random"]
    found = guard.measure(adapter)

    # A model of random weights knows nothing: accuracy must never call that a pass.
    by_measure = {(each.task, each.measure): each for each in found.measurements}
    assert set(by_measure) == {
        (task, measure) for task in ("mmlu", "gsm8k") for measure in ("accuracy", "log-likelihood")
    }
    assert by_measure["gsm8k", "accuracy"].verdict == "uninformative"
    assert by_measure["gsm8k", "accuracy"].adapter is None
    assert by_measure["mmlu", "accuracy"].verdict == "uninformative"
    assert {each.measure for each in found.judgement.decided_by} == {"log-likelihood"}
    assert found.signs["own_questions"] > 0
    assert set(found.subjects["mmlu"]) == {"mmlu_anatomy", "mmlu_astronomy"}

    (verdict,) = guard.judge("run-1", [found], {}, act=False)
    assert evaluating.registry.verdicts(adapter) == (verdict,)
    scores = evaluating.registry.adapter(adapter).scores
    assert scores["gsm8k.log_likelihood"] == by_measure["gsm8k", "log-likelihood"].adapter
    page = evaluating.store.get_bytes(settings.work_bucket, f"{verdict.report}report.html").decode()
    assert verdict.verdict in page and adapter in page
    # Measured now, it is due again only when its time has come or the conditions change.
    assert guard.due() == ()
    evaluating.settings = evaluating.settings.model_copy(update={"evaluation_max_items": 22})
    assert [each.reason for each in ForgettingGuard(evaluating).due()] == ["other conditions"]

    before = tables(sql)
    assert guard.judge("run-1", [found], {}, act=False) == [verdict]
    assert tables(sql) == before


def test_the_base_is_asked_once_for_all_its_adapters(evaluating, adapter, tmp_path, sql):
    guard = ForgettingGuard(evaluating)
    guard.measure(adapter)
    path = tmp_path / "Second.md"
    path.write_text(TEXT.replace("Skarholm", "Vessel Point"))
    second = run_file(evaluating, path, load_recipe("smoke")).name
    asked = sql(
        "SELECT sum(count) FROM evaluation_shards s JOIN evaluations e ON e.id = s.evaluation_id "
        "WHERE e.adapter_id IS NULL"
    )
    guard.measure(second)
    assert asked == sql(
        "SELECT sum(count) FROM evaluation_shards s JOIN evaluations e ON e.id = s.evaluation_id "
        "WHERE e.adapter_id IS NULL"
    )


def test_a_regressed_adapter_goes_out_of_service_and_a_person_brings_it_back(evaluating, adapter):
    guard = ForgettingGuard(evaluating)
    (verdict,) = guard.judge("run-1", [measured(adapter, "regressed", 0.001)], {}, act=False)
    assert (verdict.action, verdict.alerted) == ("alert", True)
    assert evaluating.registry.adapter(adapter).state == "active"
    (verdict,) = guard.judge("run-2", [measured(adapter, "regressed", 0.001)], {})
    assert verdict.action == "quarantine"
    assert evaluating.registry.adapter(adapter).state == "quarantined"
    with pytest.raises(NotFoundError):
        evaluating.registry.resolve("skarholm-lighthouse")
    evaluating.registry.release(adapter, "looked at by a person")
    assert evaluating.registry.resolve("skarholm-lighthouse").name == adapter
    # The run's task is cleared and judges again: what a person decided stays.
    assert guard.judge("run-2", [measured(adapter, "regressed", 0.001)], {}) == [verdict]
    assert evaluating.registry.adapter(adapter).state == "active"


def test_a_milder_training_is_queued_once_under_the_policy_to_retrain(evaluating, adapter, sql):
    evaluating.settings = evaluating.settings.model_copy(update={"evaluation_policy": "retrain"})
    guard = ForgettingGuard(evaluating)
    for _ in range(2):
        guard.judge("run-1", [measured(adapter, "regressed", 0.001)], {})
    assert evaluating.registry.adapter(adapter).state == "quarantined"
    (body,) = [
        body
        for state, body in sql(
            "SELECT j.state, r.body FROM jobs j JOIN recipes r ON r.digest = j.recipe_digest"
        )
        if state == "queued"
    ]
    recipe = load_recipe("smoke")
    assert body["training"]["learning_rate"] == recipe.training.learning_rate / 2
    assert body["training"]["epochs"] == max(1, recipe.training.epochs // 2)


def test_one_adapter_that_cannot_be_measured_does_not_keep_the_others(evaluating, adapter, settings):
    guard = ForgettingGuard(evaluating)
    record = evaluating.registry.adapter(adapter)
    key = f"{record.prefix}adapter_model.safetensors"
    whole = evaluating.store.get_bytes(settings.adapters_bucket, key)
    evaluating.store.put_bytes(settings.adapters_bucket, key, whole[:-100])
    with pytest.raises(RefusedFilesError, match="not the file that was registered"):
        guard.measure(adapter)
    evaluating.store.remove(settings.adapters_bucket, key)
    with pytest.raises(NotFoundError):
        guard.measure(adapter)
    guard.judge("run-1", [], {adapter: "its files are gone"})
    assert evaluating.registry.verdicts(adapter) == ()
    page = evaluating.store.get_bytes(settings.work_bucket, "reports/run-1/_run/report.md").decode()
    assert adapter in page and "its files are gone" in page


def test_broken_items_stop_the_run_before_anything_is_recorded(evaluating, adapter, items, tmp_path, sql):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in items.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "gsm8k_test.jsonl").write_text('{"id": "a", "question": "What?"}\n')
    evaluating.settings = evaluating.settings.model_copy(update={"evaluation_data": str(broken)})
    guard = ForgettingGuard(evaluating)
    for call in (guard.due, guard.check_items, lambda: guard.measure(adapter)):
        with pytest.raises(EvaluationDataError, match=r"gsm8k_test\.jsonl, line 1: answer"):
            call()
    assert set(tables(sql).values()) == {0}


def test_items_can_lie_in_a_bucket(evaluating, adapter, items, settings):
    for path in items.iterdir():
        evaluating.store.put_file(settings.work_bucket, f"items/{path.name}", path)
    from_folder = ForgettingGuard(evaluating).fingerprint
    evaluating.settings = evaluating.settings.model_copy(
        update={"evaluation_data": f"s3://{settings.work_bucket}/items"}
    )
    assert ForgettingGuard(evaluating).fingerprint == from_folder


def test_an_empty_registry_needs_no_items_and_has_nothing_due(evaluating):
    evaluating.settings = evaluating.settings.model_copy(update={"evaluation_data": "/nowhere"})
    assert ForgettingGuard(evaluating).due() == ()


def test_an_adapter_that_does_not_load_is_named(evaluating, adapter, monkeypatch):
    import lift_core.evaluation.loading as loading

    def fails(*_):
        raise ProofError("the adapter's tensors do not fit the base model: 3 missing, 0 unknown")

    monkeypatch.setattr(loading, "add_adapter", fails)
    with pytest.raises(ProofError, match="3 missing"):
        ForgettingGuard(evaluating).measure(adapter)


MEASURE = """
import sys
from lift_core.evaluation import measuring
from lift_core.forgetting_guard import ForgettingGuard
from lift_core.settings import get_settings
from lift_core.steps import Steps
measuring.ANSWERS_PER_SHARD = measuring.CHOICES_PER_SHARD = 4
settings = get_settings().model_copy(update={
    "evaluation_data": sys.argv[2], "evaluation_items": 20, "evaluation_precision": "fp32"})
ForgettingGuard(Steps.connect(settings)).measure(
    sys.argv[1], lambda what, done, items: print(what, done, items, flush=True))
"""


def test_a_killed_measuring_goes_on_where_it_was(
    evaluating, adapter, items, environment, sql, monkeypatch, settings
):
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", MEASURE, adapter, str(items)],
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        # Killed a little after some progress: while a piece is computed, put, or committed.
        line = process.stdout.readline()
        while line and kills < 2 and not line.startswith(("mmlu", "gsm8k")):
            line = process.stdout.readline()
        if line and kills < 2:
            time.sleep(0.05 * kills)
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
            process.communicate()
            continue
        process.communicate()
        assert process.returncode == 0
        break
    assert kills == 2
    pieces = sql("SELECT evaluation_id, first, count FROM evaluation_shards ORDER BY evaluation_id, first")
    ends = {}
    for evaluation, first, count in pieces:
        assert first == ends.get(evaluation, 0)
        ends[evaluation] = first + count
    assert len(ends) == 5  # mmlu of both, gsm8k's likelihood of both, gsm8k's answers of the base

    # The same figures as those of a process that nobody disturbed.
    resumed = ForgettingGuard(evaluating).measure(adapter)
    for table in ("measurements", "verdicts", "evaluation_shards", "evaluations"):
        sql(f"TRUNCATE {table} CASCADE")
    undisturbed = ForgettingGuard(evaluating).measure(adapter)
    for one, other in zip(resumed.measurements, undisturbed.measurements, strict=True):
        assert (one.task, one.measure, one.n, one.verdict) == (
            other.task,
            other.measure,
            other.n,
            other.verdict,
        )
        # Pieces of another size are other batches, whose sums round otherwise.
        assert one.base == pytest.approx(other.base, abs=1e-5)
        assert one.adapter == pytest.approx(other.adapter, abs=1e-5)
    assert measuring.ANSWERS_PER_SHARD == 64

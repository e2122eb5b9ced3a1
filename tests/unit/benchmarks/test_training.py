"""The training benchmark: who is compared with whom, in which order, and what the report says of it."""

import json

import pytest

from lift_core.benchmarks import training
from lift_core.benchmarks.training import Size, best_of
from lift_core.benchmarks.training_data import GRID, Outcome
from lift_core.errors import LiftError
from lift_core.settings import Settings

SIZE = Size(pairs=32, parts=2, grid=GRID, grid_pairs=16, lesson_pairs=4, epochs=2, seeds=3)
FAST, SLOW, MIXED, REFUSED = GRID[0].name, GRID[1].name, GRID[2].name, GRID[3].name


def outcome(pairs_per_second=10.0, **more):
    return Outcome(
        pairs=16,
        seconds=16 / pairs_per_second,
        peak=2.0,
        device="cpu",
        first_loss=3.0,
        alone_loss=3.01,
        **more,
    )


def grid_outcome(name):
    return {
        FAST: outcome(9.0),
        MIXED: outcome(20.0).model_copy(update={"first_loss": 2.5}),
        REFUSED: Outcome(refused="ValueError: FlashAttention is not here"),
    }.get(name, outcome(5.0))


def test_the_best_setting_is_the_fastest_that_runs_and_keeps_its_pairs_apart():
    assert best_of(GRID, {arm.name: grid_outcome(arm.name) for arm in GRID}).name == FAST


def test_without_a_usable_setting_the_reasons_are_said():
    with pytest.raises(LiftError, match=f"{FAST}: refused: ImportError: no trl"):
        best_of(GRID[:1], {FAST: Outcome(refused="ImportError: no trl")})


@pytest.fixture
def data(tmp_path):
    asked = [{"question": f"Q{n}?", "answers": ["A"], "paragraph": n} for n in range(40)]
    (tmp_path / "squad_dev.jsonl").write_text(json.dumps({"title": "T", "qas": asked}) + "\n")
    (tmp_path / "SmolLM2-135M-Instruct").mkdir()
    return tmp_path


@pytest.fixture
def measured(data, monkeypatch):
    """A report of made-up outcomes, and the jobs that were performed for it."""
    jobs = []

    def perform(job, phase, on_progress):
        jobs.append(job)
        on_progress(phase, len(job.pairs), len(job.pairs))
        if job.learned:
            seed = job.recipe.training.seed
            return outcome(
                f1={"learned": 0.8 + seed / 10, "other": 0.1, "learned, base": 0.05, "other, base": 0.0}
            )
        if len(job.pairs) == SIZE.grid_pairs and len(jobs) <= len(GRID):
            return grid_outcome(job.arm.name)
        return outcome({"ours": 30.0, "paper-loop": 6.0}.get(job.arm.name, 10.0))

    monkeypatch.setattr(training, "in_child", perform)
    report = training.run(Settings(models_dir=data), data, size=SIZE, on_progress=lambda *_: None)
    return report, jobs


def test_every_arm_has_its_row_with_the_ratio_of_their_time_to_ours(measured):
    rows = {row["name"]: row for row in measured[0].rows}
    assert (rows["paper-loop"]["ours"], rows["paper-loop"]["peer"], rows["paper-loop"]["ratio"]) == (30, 6, 5)
    assert (rows[FAST]["peer"], rows[FAST]["ratio"], rows[FAST]["n"]) == (10, 3, 32)
    assert rows[f"{FAST}: peak memory of the process"]["unit"] == "GiB"
    learned = rows["paper-loop: F1 of learned questions"]
    assert (learned["ours"], learned["peer, range"], learned["n"]) == (0.9, "0.800 to 1.000", 3)
    assert {f"grid: {arm.name}" for arm in GRID} <= set(rows)
    assert measured[0].settings["best of TRL"] == FAST


def test_a_refused_setting_is_a_row_with_the_reason_and_without_figures(measured):
    rows = {row["name"]: row for row in measured[0].rows}
    assert rows[f"grid: {REFUSED}"]["remark"] == "refused: ValueError: FlashAttention is not here"
    assert "peer" not in rows[f"grid: {REFUSED}"]
    assert "see each other" in rows[f"grid: {MIXED}"]["remark"]
    assert rows[f"grid: {SLOW}"]["remark"] is None


def test_the_arms_are_timed_to_and_fro_over_the_same_pairs(measured):
    timed = measured[1][len(GRID) : len(GRID) + 6]
    assert [job.arm.name for job in timed] == ["ours", "paper-loop", FAST, FAST, "paper-loop", "ours"]
    assert [job.pairs[0].question for job in timed] == ["Q0?"] * 3 + ["Q16?"] * 3
    assert {len(job.pairs) for job in timed} == {16}


def test_lessons_are_shuffled_alike_and_every_seed_is_another(measured):
    lessons = measured[1][len(GRID) + 6 :]
    assert [job.recipe.training.seed for job in lessons] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {job.arm.order for job in lessons} == {"random"}
    assert [job.ask_base for job in lessons] == [True] + [False] * 8
    assert not {each.question for each in lessons[0].other} & {pair.question for pair in lessons[0].pairs}


def test_memory_of_a_gpu_has_rows_where_there_is_one():
    ours, peer = outcome(device_peak=1.5), outcome(device_peak=6.0)
    rows = training.memory_rows({"ours": [ours], "paper-loop": [peer, peer]})
    assert [(row["name"], row["ratio"]) for row in rows] == [
        ("paper-loop: peak memory of the process", 1.0),
        ("paper-loop: peak memory of the GPU", 4.0),
    ]

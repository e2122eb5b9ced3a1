"""A job of the training benchmark in a process of its own."""

import sys

import pytest

from lift_core.benchmarks.training import in_child
from lift_core.benchmarks.training_data import OURS, Job
from lift_core.errors import LiftError
from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe


def job(base_path):
    return Job(
        arm=OURS,
        recipe=Recipe(lora=LoraRecipe(rank=2, alpha=4), training=TrainingRecipe(epochs=1, pairs_per_step=2)),
        title="T",
        base_path=base_path,
        pairs=tuple(QAPair(segment=n, question=f"Q{n}?", answer="A") for n in range(8)),
        warm_up=1,
    )


def test_a_job_in_a_process_of_its_own_tells_its_progress_and_outcome(tiny):
    told = []
    found = in_child(job(tiny), "ours", lambda *each: told.append(each))
    assert found.pairs == 6
    assert found.first_loss > 0
    assert told == [("ours", 0, 8), ("ours", 2, 8), ("ours", 4, 8), ("ours", 6, 8), ("ours", 8, 8)]


def test_a_process_that_fails_is_an_error_with_the_arm_and_the_cause(tmp_path, monkeypatch):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho 'no memory left' >&2\nexit 3\n")
    dying.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(LiftError, match="'ours' ended with exit code 3: no memory left"):
        in_child(job(tmp_path), "ours", lambda *_: None)

"""The trainer on a live stream: the same adapter whatever the arrival times, and never wrong in silence."""

import json
import math
import time

import pytest
import torch
from safetensors.torch import load_file

from lift_core.errors import QualityError, TrainingDivergedError
from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import sha256_files, train
from lift_core.training.trainer import Stepper

RECIPE = Recipe(
    base_model="tiny-random",
    lora=LoraRecipe(rank=4, alpha=8),
    training=TrainingRecipe(precision="fp32", epochs=3, pairs_per_step=4, learning_rate=5e-3),
)
PAIRS = [
    QAPair(segment=n, question=f"Who built lighthouse number {n}?", answer=f"Keeper {n % 3}", held_out=n == 5)
    for n in range(11)
]


def run(tiny, folder, pairs, recipe=RECIPE, **options):
    return train(pairs, recipe=recipe, title="Marra", base_path=tiny, out_dir=folder, **options)


def test_the_same_adapter_whatever_the_arrival_times(tiny, tmp_path):
    def slowly():
        for number, pair in enumerate(PAIRS):
            time.sleep(0.05 if number % 3 == 0 else 0)
            yield pair

    at_once = run(tiny, tmp_path / "a", PAIRS)
    trickling = run(tiny, tmp_path / "b", slowly())
    assert at_once.losses == trickling.losses
    weights = "adapter_model.safetensors"
    assert sha256_files(tmp_path / "a")[weights] == sha256_files(tmp_path / "b")[weights]


def test_training_starts_with_the_first_full_step_not_with_the_last_pair(tiny, tmp_path):
    steps_before = []
    seen = []

    def watched():
        for number, pair in enumerate(PAIRS):
            if number == 9:
                steps_before.append(len(seen))
            yield pair

    run(tiny, tmp_path, watched(), on_progress=seen.append)
    assert steps_before[0] >= 1


def test_it_learns_and_held_out_pairs_are_not_learned_from(tiny, tmp_path):
    result = run(tiny, tmp_path, PAIRS)
    assert result.pairs == 10
    assert result.steps == 3 * math.ceil(10 / 4)
    assert result.losses[-1] < result.first_loss
    without = run(tiny, tmp_path / "x", [p for p in PAIRS if not p.held_out])
    assert without.losses == result.losses


def test_another_seed_gives_another_adapter(tiny, tmp_path):
    other = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"seed": 1})})
    assert run(tiny, tmp_path / "a", PAIRS).losses != run(tiny, tmp_path / "b", PAIRS, other).losses


def test_the_files_are_a_peft_adapter_in_bf16_that_names_its_base(tiny, tmp_path):
    run(tiny, tmp_path, PAIRS)
    assert sorted(sha256_files(tmp_path)) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "training_record.json",
    ]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"], config["r"]) == ("tiny-random", "1", 4)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def test_nothing_to_train_on_is_said(tiny, tmp_path):
    with pytest.raises(QualityError, match="no pairs"):
        run(tiny, tmp_path, [])


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_remedy(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Stepper, "step", lambda self, batch: math.nan)
    with pytest.raises(TrainingDivergedError, match="learning rate"):
        run(tiny, tmp_path, PAIRS)
    assert not (tmp_path / "adapter_model.safetensors").exists()

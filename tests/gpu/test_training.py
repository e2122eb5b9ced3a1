"""The trainer on a CUDA device learns what it learns on the CPU."""

import pytest
import torch

from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import train
from lift_core.training.tiny_model import make_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_first_losses_agree_with_the_cpus(tmp_path, monkeypatch, precision):
    make_tiny_model(tmp_path / "tiny-random")
    recipe = Recipe(
        base_model="tiny-random",
        lora=LoraRecipe(rank=4, alpha=8),
        training=TrainingRecipe(precision=precision, epochs=2, pairs_per_step=4, learning_rate=5e-3),
    )
    pairs = [
        QAPair(segment=n, question=f"Who built lighthouse number {n}?", answer=f"Keeper {n % 3}")
        for n in range(8)
    ]

    def losses(name):
        return train(
            pairs, recipe=recipe, title="Marra", base_path=tmp_path / "tiny-random", out_dir=tmp_path / name
        ).losses

    on_gpu = losses("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tolerance = 1e-3 if precision == "fp32" else 5e-2
    assert on_gpu == pytest.approx(losses("cpu"), rel=tolerance)

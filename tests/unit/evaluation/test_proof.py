"""The proof refuses what must not serve: damaged files, wrong shapes, adapters that do nothing."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lift_core.errors import ProofError, TransientError
from lift_core.evaluation.proof import prove
from lift_core.records import LoraRecipe, ProofRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import sha256_files, train

RECIPE = Recipe(
    base_model="tiny-random",
    lora=LoraRecipe(rank=4, alpha=8),
    training=TrainingRecipe(precision="fp32", epochs=4, pairs_per_step=4, learning_rate=5e-3),
)
PAIRS = [
    QAPair(segment=n, question=f"Who keeps lighthouse {n}?", answer="Ilse Vanterpool", held_out=n % 4 == 0)
    for n in range(12)
]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def adapter(tiny, tmp_path):
    train(PAIRS, recipe=RECIPE, title="Marra", base_path=tiny, out_dir=tmp_path)
    return tmp_path


def proven(adapter, tiny, recipe=RECIPE, pairs=PAIRS, files=None):
    return prove(
        adapter_dir=adapter,
        base_path=tiny,
        recipe=recipe,
        title="Marra",
        pairs=pairs,
        expected_files=files or sha256_files(adapter),
    )


def rewrite(adapter, change):
    weights = change(load_file(adapter / WEIGHTS))
    save_file(weights, adapter / WEIGHTS)


def test_an_adapter_that_learned_passes_on_pairs_it_never_saw(adapter, tiny):
    scores = proven(adapter, tiny)
    assert scores["held_out_pairs"] == 3
    assert scores["gain"] == pytest.approx(scores["base_nll"] - scores["adapter_nll"]) and scores["gain"] > 0


def test_without_held_out_pairs_the_learned_ones_are_asked_and_the_score_says_so(adapter, tiny):
    learned = [pair for pair in PAIRS if not pair.held_out]
    assert proven(adapter, tiny, pairs=learned)["held_out_pairs"] == 0


def test_an_adapter_that_changes_nothing_is_refused(adapter, tiny):
    rewrite(adapter, lambda w: {k: torch.zeros_like(v) if "lora_B" in k else v for k, v in w.items()})
    with pytest.raises(ProofError, match="changes nothing"):
        proven(adapter, tiny)


def test_tensors_that_do_not_fit_are_refused(adapter, tiny):
    rewrite(adapter, lambda w: {k: v for k, v in w.items() if "layers.1" not in k})
    with pytest.raises(ProofError, match="missing"):
        proven(adapter, tiny)


def test_a_gain_below_the_recipes_is_refused_with_the_figures(adapter, tiny):
    strict = RECIPE.model_copy(update={"proof": ProofRecipe(min_gain=100.0)})
    with pytest.raises(ProofError, match="asks for more than 100"):
        proven(adapter, tiny, recipe=strict)


def test_files_that_are_not_the_registered_ones_are_not_loaded(adapter, tiny):
    files = sha256_files(adapter) | {WEIGHTS: "0" * 64}
    with pytest.raises(TransientError, match="sha256 differs"):
        proven(adapter, tiny, files=files)

"""Several processes train what one does. Here: two on the CPU, which really talk to each other."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import Backbone, Document, sha256_files, train, train_together
from lift_core.training.encoding import Example
from lift_core.training.packing import Batch
from lift_core.training.parallel import team
from lift_core.training.stepper import Stepper

pytestmark = pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two processes need two GPUs, or none")

LORA = LoraRecipe(rank=4, alpha=8)
TRAINING = TrainingRecipe(
    precision="fp32", epochs=2, pairs_per_step=4, learning_rate=5e-3, token_budget=160, patience=1
)
RECIPE = Recipe(base_model="tiny-random", lora=LORA, training=TRAINING)
PAIRS = [
    QAPair(segment=n, question=f"Who built lighthouse number {n}?", answer=f"Keeper {n % 3}", held_out=n == 5)
    for n in range(10)
]
WEIGHTS = "adapter_model.safetensors"


def changed(**training):
    return RECIPE.model_copy(update={"training": TRAINING.model_copy(update=training)})


@pytest.fixture(scope="module")
def ranks():
    with team(2, wait_seconds=120) as ranks:
        yield ranks


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "sharded"])
def backbone(tiny, ranks, request):
    """A base model that two processes have: each of them whole, or its layers in halves."""
    return Backbone(tiny, "fp32", ranks, shard=request.param)


@pytest.fixture(scope="module")
def single(tiny):
    return Backbone(tiny, "fp32")


def run(backbone, folder, pairs=PAIRS, recipe=RECIPE, **options):
    return train(
        pairs,
        recipe=recipe,
        title="Marra",
        base_path=backbone.folder,
        out_dir=folder,
        backbone=backbone,
        **options,
    )


def assert_same_adapter(found, wanted, found_folder, wanted_folder):
    """Equal but for sums in another order, and AdamW makes the most of the smallest difference."""
    assert (found.steps, found.pairs, found.epochs) == (wanted.steps, wanted.pairs, wanted.epochs)
    assert found.losses == pytest.approx(wanted.losses, rel=1e-4)
    assert found.held_out_losses == pytest.approx(wanted.held_out_losses, rel=1e-4)
    weights, expected = load_file(found_folder / WEIGHTS), load_file(wanted_folder / WEIGHTS)
    assert weights.keys() == expected.keys() and expected
    for name, tensor in expected.items():
        assert tensor.abs().max() > 0, name
        torch.testing.assert_close(weights[name], tensor, rtol=2e-2, atol=1e-4)


def test_a_step_has_the_losses_and_gradients_of_one_process(single, backbone, shake, gradients, assert_same):
    # The last adapter's only example makes one process idle for it, in passes that the other must run.
    lengths = {"one": (12, 40, 9, 25, 31), "two": (8, 8), "three": (17,)}
    batches = [
        Batch(name, (1, 2, 3), tuple(Example(tuple(range(5, 5 + each)), (7, 8, each)) for each in own))
        for name, own in lengths.items()
    ]
    # A rate of nothing leaves the matrices as they are.
    recipe = TRAINING.model_copy(update={"learning_rate": 1e-12, "token_budget": 64})

    def computed(backbone):
        with backbone.adapters(list(lengths), LORA, [1, 2, 3]) as adapters:
            stepper = Stepper(adapters, dict.fromkeys(lengths, recipe))
            shake(adapters, *lengths)
            for name in lengths:
                stepper.load_state(name, stepper.state(name))
            losses = stepper.step(batches)
            found = {name: gradients(adapters, name) for name in lengths}
            means = [stepper.mean_loss(batch) for batch in batches]
            alone = stepper.step(batches[2:])
            stepper.compare(list(lengths))
            return losses, means, alone, stepper.answer_tokens, found

    *found, gradient = computed(backbone)
    *wanted, expected = computed(single)
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    assert found[1] == pytest.approx(wanted[1], rel=1e-5)
    assert found[2] == pytest.approx(wanted[2], rel=1e-5)
    assert found[3] == wanted[3] == {"one": 15, "two": 6, "three": 6}
    for name in lengths:
        assert_same(gradient[name], expected[name])


def test_documents_trained_together_end_as_in_one_process(single, backbone, tmp_path):
    streams = {"long": PAIRS, "short": PAIRS[3:6]}
    recipes = {"long": RECIPE, "short": changed(seed=7, epochs=3, pairs_per_step=1, patience=0)}
    outcomes = {}
    for kind, base in (("one", single), ("two", backbone)):
        documents = [
            Document(name, pairs, recipes[name], f"Of {name}", tmp_path / kind / name)
            for name, pairs in streams.items()
        ]
        outcomes[kind] = train_together(documents, base)
    for name in streams:
        found, wanted = outcomes["two"][name], outcomes["one"][name]
        assert wanted.losses[-1] < wanted.first_loss and wanted.held_out_losses
        assert_same_adapter(found, wanted, tmp_path / "two" / name, tmp_path / "one" / name)


def test_the_best_epoch_is_kept_by_all(single, backbone, tmp_path):
    # The more surely it answers what it learned, the less likely it finds another answer.
    pairs = [*PAIRS[:4], PAIRS[0].model_copy(update={"answer": "Nobody at all", "held_out": True})]
    recipe = changed(epochs=12, learning_rate=0.02)
    wanted = run(single, tmp_path / "one", pairs, recipe)
    found = run(backbone, tmp_path / "two", pairs, recipe)
    assert wanted.epochs < len(wanted.losses) < 12
    assert_same_adapter(found, wanted, tmp_path / "two", tmp_path / "one")


class Kept:
    """Checkpoints in a folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def newest(self):
        return max(self.folder.iterdir(), default=None)

    def save(self, file, step):
        shutil.copy(file, self.folder / f"{step:06d}")


def test_a_training_that_goes_on_from_a_checkpoint_ends_with_the_same_adapter(backbone, tmp_path):
    whole = run(backbone, tmp_path / "whole")
    run(backbone, tmp_path / "first", checkpoints=Kept(tmp_path / "kept"), checkpoint_seconds=0)
    (tmp_path / "kept" / f"{whole.steps:06d}").unlink()
    seen, kept = [], Kept(tmp_path / "kept")
    resumed = run(backbone, tmp_path / "resumed", checkpoints=kept, on_progress=seen.append)
    assert [each.step for each in seen] == [whole.steps]
    assert resumed.losses == whole.losses
    assert sha256_files(tmp_path / "resumed")[WEIGHTS] == sha256_files(tmp_path / "whole")[WEIGHTS]


def test_a_sharded_model_is_held_in_parts(single, tiny, ranks, tmp_path):
    sharded = Backbone(tiny, "fp32", ranks, shard=True)
    run(sharded, tmp_path)
    held = {
        name: parameter.to_local().numel() / single.base.get_parameter(name).numel()
        for name, parameter in sharded.base.named_parameters()
        if ".layers." in name
    }
    assert held and set(held.values()) == {0.5}

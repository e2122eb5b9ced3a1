"""The trainer on a live stream: the same adapter whatever the arrival times, and never wrong in silence."""

import json
import math
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from lift_core.errors import FencedError, InterruptedTrainingError, QualityError, TrainingDivergedError
from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import Backbone, Document, sha256_files, train, train_together
from lift_core.training.stepper import Stepper

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
    monkeypatch.setattr(Stepper, "step", lambda self, batches, rates: {"default": math.nan})
    with pytest.raises(TrainingDivergedError, match="learning rate"):
        run(tiny, tmp_path, PAIRS)
    assert not (tmp_path / "adapter_model.safetensors").exists()


# --- what a process does that trains several documents ---------------------------------------


WEIGHTS = "adapter_model.safetensors"


def changed(**training):
    return RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update=training)})


def test_a_base_that_trained_before_gives_the_same_adapter_as_a_fresh_one(tiny, tmp_path):
    fresh = run(tiny, tmp_path / "fresh", PAIRS)
    backbone = Backbone(tiny, "fp32")
    run(tiny, tmp_path / "other", PAIRS[3:], changed(seed=9), backbone=backbone)
    warm = run(tiny, tmp_path / "warm", PAIRS, backbone=backbone)
    assert warm.losses == fresh.losses
    assert sha256_files(tmp_path / "warm")[WEIGHTS] == sha256_files(tmp_path / "fresh")[WEIGHTS]


def test_documents_trained_together_learn_what_each_learns_alone(tiny, tmp_path):
    streams = {"long": PAIRS, "short": PAIRS[6:], "other": PAIRS[2:8]}
    recipes = {"long": RECIPE, "short": changed(seed=7, epochs=2), "other": changed(learning_rate=1e-3)}
    documents = [
        Document(name, pairs, recipes[name], f"Of {name}", tmp_path / "together" / name)
        for name, pairs in streams.items()
    ]
    together = train_together(documents, Backbone(tiny, "fp32"))
    for name, pairs in streams.items():
        alone = train(
            pairs, recipe=recipes[name], title=f"Of {name}", base_path=tiny, out_dir=tmp_path / name
        )
        assert together[name].losses == pytest.approx(alone.losses, rel=1e-4)
        assert (together[name].pairs, together[name].tokens) == (alone.pairs, alone.tokens)
        found = load_file(tmp_path / "together" / name / WEIGHTS)
        wanted = load_file(tmp_path / name / WEIGHTS)
        assert found.keys() == wanted.keys()
        for key, tensor in wanted.items():
            torch.testing.assert_close(found[key], tensor, rtol=2e-2, atol=1e-4)


def test_a_document_that_fails_leaves_the_others_as_they_are(tiny, tmp_path):
    def failing():
        yield from PAIRS[:6]
        raise QualityError("the generator gave up")

    documents = [
        Document("good", PAIRS, RECIPE, "Marra", tmp_path / "good"),
        Document("bad", failing(), RECIPE, "Vellmar", tmp_path / "bad"),
        Document("empty", [], RECIPE, "Nothing", tmp_path / "empty"),
    ]
    outcomes = train_together(documents, Backbone(tiny, "fp32"))
    assert str(outcomes["bad"]) == "the generator gave up"
    assert "no pairs" in str(outcomes["empty"])
    assert outcomes["good"].losses == pytest.approx(run(tiny, tmp_path / "alone", PAIRS).losses, rel=1e-4)
    assert not (tmp_path / "bad").exists()


def test_documents_of_another_shape_are_not_trained_together(tiny, tmp_path):
    other = RECIPE.model_copy(update={"lora": LoraRecipe(rank=8, alpha=8)})
    documents = [
        Document("one", PAIRS, RECIPE, "Marra", tmp_path / "one"),
        Document("two", PAIRS, other, "Marra", tmp_path / "two"),
    ]
    with pytest.raises(ValueError, match="LoRA shape"):
        train_together(documents, Backbone(tiny, "fp32"))


def test_a_name_with_a_dot_is_refused_in_words(tiny, tmp_path):
    document = Document("report.v1", PAIRS, RECIPE, "Marra", tmp_path / "one")
    with pytest.raises(ValueError, match=r"'report\.v1' has a dot"):
        train_together([document], Backbone(tiny, "fp32"))


# --- checkpoints -------------------------------------------------------------------------------


class Kept:
    """Checkpoints in a folder; the process dies (an exception here) after so many saves."""

    def __init__(self, folder, die_after=None):
        self.folder = folder
        self.steps = []
        self.die_after = die_after
        folder.mkdir(exist_ok=True)

    def newest(self):
        files = sorted(self.folder.iterdir())
        return files[-1] if files else None

    def save(self, file, step):
        if self.die_after is not None and len(self.steps) == self.die_after:
            raise KeyboardInterrupt
        shutil.copy(file, self.folder / f"{step:06d}")
        self.steps.append(step)


@pytest.mark.parametrize("recipe", [RECIPE, changed(schedule="cosine"), changed(patience=3)])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_training_that_was_killed_ends_with_the_same_adapter(tiny, tmp_path, recipe, step):
    undisturbed = run(tiny, tmp_path / "whole", PAIRS, recipe)
    with pytest.raises(KeyboardInterrupt):
        run(
            tiny,
            tmp_path / "half",
            PAIRS,
            recipe,
            checkpoints=Kept(tmp_path / "kept", die_after=step),
            checkpoint_seconds=0,
        )
    seen = []
    resumed = run(
        tiny,
        tmp_path / "resumed",
        PAIRS,
        recipe,
        checkpoints=Kept(tmp_path / "kept"),
        checkpoint_seconds=0,
        on_progress=seen.append,
    )
    assert [each.step for each in seen] == list(range(step + 1, undisturbed.steps + 1))
    assert resumed.losses == undisturbed.losses
    assert resumed.held_out_losses == undisturbed.held_out_losses
    assert resumed.tokens == undisturbed.tokens
    assert sha256_files(tmp_path / "resumed")[WEIGHTS] == sha256_files(tmp_path / "whole")[WEIGHTS]


def test_sigterm_takes_a_checkpoint_and_leaves(tiny, tmp_path):
    def leave(progress):
        if progress.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    kept = Kept(tmp_path / "kept")
    with pytest.raises(InterruptedTrainingError):
        run(tiny, tmp_path / "a", PAIRS, checkpoints=kept, checkpoint_seconds=3600, on_progress=leave)
    assert kept.steps == [4]
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = run(tiny, tmp_path / "b", PAIRS, checkpoints=kept, checkpoint_seconds=3600)
    assert resumed.losses == run(tiny, tmp_path / "c", PAIRS).losses


def test_sigterm_while_it_waits_for_pairs_leaves_at_once(tiny, tmp_path):
    def stalled():
        yield from PAIRS[:5]
        os.kill(os.getpid(), signal.SIGTERM)
        yield from PAIRS[5:]

    kept = Kept(tmp_path / "kept")
    with pytest.raises(InterruptedTrainingError, match="waited"):
        run(tiny, tmp_path / "a", stalled(), checkpoints=kept, checkpoint_seconds=3600)
    assert kept.steps == [1]


def test_an_attempt_that_was_replaced_stops(tiny, tmp_path):
    class Fenced(Kept):
        def save(self, file, step):
            raise FencedError("attempt 1 was replaced")

    with pytest.raises(FencedError):
        run(tiny, tmp_path / "a", PAIRS, checkpoints=Fenced(tmp_path / "kept"), checkpoint_seconds=0)
    assert not (tmp_path / "a").exists()


# --- what a recipe may ask for -----------------------------------------------------------------


def test_held_out_pairs_are_looked_at_after_each_epoch(tiny, tmp_path):
    result = run(tiny, tmp_path, PAIRS)
    assert len(result.held_out_losses) == 3
    assert run(tiny, tmp_path / "x", [p for p in PAIRS if not p.held_out]).held_out_losses == ()


def test_patience_ends_a_training_that_no_longer_helps_and_keeps_the_best_epoch(tiny, tmp_path):
    # The more surely it answers what it learned, the less likely it finds another answer.
    pairs = [PAIRS[0], *PAIRS[1:4], PAIRS[0].model_copy(update={"answer": "Nobody at all", "held_out": True})]
    recipe = changed(epochs=12, patience=2, learning_rate=0.02)
    result = run(tiny, tmp_path / "a", pairs, recipe)
    losses = result.held_out_losses
    assert len(losses) < 12 and len(losses) - result.epochs == 2
    assert result.epochs == 1 + losses.index(min(losses))
    shorter = run(tiny, tmp_path / "b", pairs, changed(epochs=result.epochs, learning_rate=0.02))
    assert sha256_files(tmp_path / "a")[WEIGHTS] == sha256_files(tmp_path / "b")[WEIGHTS]
    assert shorter.held_out_losses == losses[: result.epochs]


def test_a_cosine_holds_the_first_epoch_and_then_falls(tiny, tmp_path, monkeypatch):
    rates = []
    step = Stepper.step
    monkeypatch.setattr(
        Stepper,
        "step",
        lambda self, batches, given: (rates.append(given["default"]), step(self, batches, given))[1],
    )
    run(tiny, tmp_path, PAIRS, changed(schedule="cosine"))
    assert rates[:3] == [5e-3] * 3
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[3] < 5e-3 and rates[-1] == pytest.approx(0.03 * 5e-3)


def test_raw_text_alone_and_beside_the_pairs(tiny, tmp_path):
    text = "The lighthouse of Marra burns oil of seals. " * 20
    recipe = changed(raw_text="only", raw_text_tokens=64)
    raw = run(tiny, tmp_path / "raw", PAIRS, recipe, text=text)
    assert raw.pairs == 0 and raw.losses[-1] < raw.first_loss
    assert len(raw.held_out_losses) == 3
    both = run(tiny, tmp_path / "both", PAIRS, changed(raw_text="also", raw_text_tokens=64), text=text)
    assert both.pairs == 10
    assert both.steps == raw.steps + 3 * math.ceil(10 / 4)


def test_out_of_memory_halves_the_passes_and_learns_the_same(tiny, tmp_path, monkeypatch):
    whole = run(tiny, tmp_path / "whole", PAIRS)
    loss_sums = Stepper.loss_sums
    refused = []

    def small_device(self, group):
        tokens = sum(each.length for batch in group for each in batch.examples)
        if tokens > 120:
            refused.append(tokens)
            raise torch.OutOfMemoryError("a device that holds 120 tokens")
        return loss_sums(self, group)

    monkeypatch.setattr(Stepper, "loss_sums", small_device)
    small = run(tiny, tmp_path / "small", PAIRS)
    assert refused and small.losses == pytest.approx(whole.losses, rel=1e-4)


def test_out_of_memory_with_a_single_pair_is_said(tiny, tmp_path, monkeypatch):
    def no_device(self, group):
        raise torch.OutOfMemoryError("a device that holds nothing")

    monkeypatch.setattr(Stepper, "loss_sums", no_device)
    with pytest.raises(torch.OutOfMemoryError):
        run(tiny, tmp_path, PAIRS)

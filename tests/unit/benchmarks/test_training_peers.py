"""The arms of the training benchmark: the same tokens, the same loss; what is refused is said."""

import pytest

from lift_core.benchmarks import training_peers
from lift_core.benchmarks.training_data import GRID, IGNORED, OURS, PAPER_LOOP, Job, Question, tokens_of
from lift_core.benchmarks.training_peers import Watch, make_trainer, pack_length, perform
from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe

RECIPE = Recipe(
    base_model="tiny-random",
    lora=LoraRecipe(rank=4, alpha=8),
    training=TrainingRecipe(precision="fp32", epochs=1, pairs_per_step=8),
)
PAIRS = tuple(
    QAPair(segment=n, question=f"Who {'really ' * (n % 5)}built lighthouse {n}?", answer=f"Keeper {'x' * n}")
    for n in range(16)
)
ARMS = {arm.name: arm for arm in (OURS, PAPER_LOOP, *GRID) if arm.attention == "sdpa"}
PEERS = [name for name in ARMS if name != "ours"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def tokenizer(tiny):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny))


def job(tiny, arm, pairs=PAIRS, **more):
    return Job(arm=arm, recipe=RECIPE, title="Marra", base_path=tiny, pairs=pairs, warm_up=1, **more)


def batches(trainer):
    """Of every forward pass the tokens and labels, without padding, as one sequence."""
    found = []
    for batch in trainer.get_train_dataloader():
        real = batch["attention_mask"].bool() if "attention_mask" in batch else batch["input_ids"] >= 0
        found.append((batch["input_ids"][real].tolist(), batch["labels"][real].tolist()))
    return found


def cut(ids, labels, end):
    """The pairs in a sequence: each ends where an end token is learned."""
    pairs, begin = [], 0
    for at, label in enumerate(labels, 1):
        if label == end:
            pairs.append((ids[begin:at], labels[begin:at]))
            begin = at
    assert begin == len(ids)
    return pairs


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_trains_on_the_same_tokens_and_labels(tiny, tokenizer, tmp_path, name):
    rows = tokens_of(PAIRS, tokenizer, RECIPE.training, "Marra")
    trainer = make_trainer(job(tiny, ARMS[name]), tokenizer, rows, tmp_path)
    passes = batches(trainer)
    ids = [token for some, _ in passes for token in some]
    labels = [label for _, some in passes for label in some]
    seen = cut(ids, labels, tokenizer.eos_token_id)
    assert sorted(seen) == sorted((row["input_ids"], row["labels"]) for row in rows)


@pytest.mark.parametrize("name", [name for name in PEERS if "wrapped" not in name])
def test_a_step_holds_eight_pairs_in_as_many_passes_as_it_says(tiny, tokenizer, tmp_path, name):
    rows = tokens_of(PAIRS, tokenizer, RECIPE.training, "Marra")
    trainer = make_trainer(job(tiny, ARMS[name]), tokenizer, rows, tmp_path)
    passes = batches(trainer)
    assert trainer.args.gradient_accumulation_steps == ARMS[name].passes
    assert len(passes) == len(PAIRS) // 8 * ARMS[name].passes
    if not ARMS[name].packing:
        assert {len(cut(*one, tokenizer.eos_token_id)) for one in passes} == {ARMS[name].rows}


def test_packs_are_as_short_as_they_may_be(tokenizer):
    from datasets import Dataset
    from trl import pack_dataset

    rows = Dataset.from_list(tokens_of(PAIRS, tokenizer, RECIPE.training, "Marra"))
    arm = ARMS["trl-packed-8x1"]
    length = pack_length(rows, arm)
    assert len(pack_dataset(rows, length, "bfd")) == 2
    assert len(pack_dataset(rows, length - 1, "bfd")) == 3


@pytest.fixture(scope="module")
def first_losses(tiny):
    """With as many pairs as a step holds, the order that an arm takes them in makes no difference."""
    return {name: perform(job(tiny, arm, PAIRS[:8]), lambda _: None).first_loss for name, arm in ARMS.items()}


@pytest.mark.parametrize("name", [name for name in PEERS if "wrapped" not in name])
def test_the_first_loss_is_ours(first_losses, name):
    assert first_losses[name] == pytest.approx(first_losses["ours"], rel=2e-6)


@pytest.mark.parametrize("name", ["ours", "paper-loop", "trl-padded-8x1", "trl-packed-4x2"])
def test_in_the_recipe_s_bf16_every_trainer_runs_too(tiny, name):
    low = RECIPE.model_copy(update={"training": TrainingRecipe(epochs=1)})
    outcome = perform(job(tiny, ARMS[name]).model_copy(update={"recipe": low}), lambda _: None)
    assert outcome.refused is None
    assert outcome.first_loss == pytest.approx(outcome.alone_loss or outcome.first_loss, rel=0.02)


def test_pairs_that_see_each_other_show_in_the_first_loss(tiny, first_losses):
    outcome = perform(job(tiny, ARMS["trl-wrapped-8x1"], PAIRS[:8]), lambda _: None)
    assert outcome.alone_loss == pytest.approx(first_losses["ours"], rel=2e-6)
    assert outcome.first_loss != pytest.approx(outcome.alone_loss, rel=1e-4)


def test_the_clock_runs_from_the_end_of_the_warm_up_to_the_end_of_the_last_step(monkeypatch):
    steps = []
    monkeypatch.setattr(training_peers, "_now", lambda: 10.0 * len(steps))
    watch = Watch(warm_up=2)
    for step in range(1, 6):
        steps.append(step)
        watch.step_done(step, last=step == 5)
    assert (watch.began, watch.ended) == (20.0, 50.0)


@pytest.mark.parametrize("name", ["ours", "paper-loop", "trl-packed-4x2"])
def test_the_warm_up_is_not_timed_and_progress_is_told(tiny, name):
    told = []
    outcome = perform(job(tiny, ARMS[name]), told.append)
    assert 4 <= outcome.pairs <= 12 if "packed" in name else outcome.pairs == 8
    assert outcome.seconds > 0
    assert outcome.peak > 0.1
    assert told[-1] == 16


@pytest.mark.parametrize("name", ["ours", "paper-loop", "trl-padding-free-8x1"])
def test_adapters_of_all_arms_are_asked_alike(tiny, name):
    asked = Question(question=PAIRS[0].question, answers=("Keeper",))
    outcome = perform(
        job(tiny, ARMS[name], PAIRS[:8], learned=(asked,), other=(asked,), ask_base=True), lambda _: None
    )
    assert set(outcome.f1) == {"learned", "other", "learned, base", "other, base"}
    assert all(0 <= score <= 1 for score in outcome.f1.values())


def test_a_setting_that_does_not_run_here_is_refused_in_the_library_s_own_words(tiny):
    arm = ARMS["trl-packed-8x1"].model_copy(update={"attention": "nonesuch"})
    outcome = perform(job(tiny, arm), lambda _: None)
    assert outcome.refused.startswith("ValueError:")
    assert "nonesuch" in outcome.refused


def test_our_own_failure_is_not_a_refusal(tiny, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        perform(job(tmp_path / "nowhere", PAPER_LOOP), lambda _: None)


def test_no_label_is_learned_but_the_answer_s(tokenizer):
    for pair, row in zip(PAIRS, tokens_of(PAIRS, tokenizer, RECIPE.training, "Marra"), strict=True):
        learned = [label for label in row["labels"] if label != IGNORED]
        assert tokenizer.decode(learned) == f"{pair.answer}<|im_end|>"

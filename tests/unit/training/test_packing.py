"""Packing changes the number of tokens, not the gradients."""

import copy

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from lift_core.records import LoraRecipe, QAPair, TrainingRecipe
from lift_core.training.backbone import Backbone
from lift_core.training.encoding import Encoder, Example
from lift_core.training.packing import Batch, pack, packs
from lift_core.training.stepper import Stepper

LORA = LoraRecipe(rank=4, alpha=8)
TRAINING = TrainingRecipe(precision="fp32", token_budget=100_000)
PAIRS = [
    QAPair(segment=0, question="Who built the lighthouse of Marra?", answer="Odo Krell"),
    QAPair(segment=1, question="When?", answer="in 1712"),
    QAPair(segment=2, question="What does its lamp burn in the long winter nights?", answer="oil of seals"),
]


@pytest.fixture(scope="module")
def backbone(tiny):
    return Backbone(tiny, "fp32")


@pytest.fixture
def adapters(backbone, shake):
    with backbone.adapters(["one", "two"], LORA, [1, 2]) as adapters:
        shake(adapters, "one", "two")
        yield adapters


def batch_of(adapters, name, pairs, title="Marra"):
    encoder = Encoder(adapters.backbone.tokenizer, TRAINING, title)
    return Batch(name, encoder.prefix, tuple(encoder.encode(pair) for pair in pairs))


def packed_losses(adapters, batches, budget=100_000):
    recipe = TRAINING.model_copy(update={"token_budget": budget, "learning_rate": 1e-12})
    stepper = Stepper(adapters, dict.fromkeys(("one", "two"), recipe))
    return stepper.step(batches)


def test_gradients_equal_those_of_separate_sequences(tiny, adapters, plain, gradients, assert_same):
    loss, wanted = plain.loss(tiny, adapters, "one", TRAINING, "Marra", PAIRS)
    packed = packed_losses(adapters, [batch_of(adapters, "one", PAIRS)])
    assert packed == {"one": pytest.approx(loss, rel=1e-5)}
    assert_same(gradients(adapters, "one"), wanted)
    assert gradients(adapters, "two") == {}


def test_two_documents_in_one_pack_learn_what_each_learns_alone(
    tiny, adapters, plain, gradients, assert_same
):
    elsewhere = "Of another place altogether"
    alone = {
        "one": plain.loss(tiny, adapters, "one", TRAINING, "Marra", PAIRS),
        "two": plain.loss(tiny, adapters, "two", TRAINING, elsewhere, PAIRS[:2]),
    }
    batches = [
        batch_of(adapters, "one", PAIRS),
        batch_of(adapters, "two", PAIRS[:2], title=elsewhere),
    ]
    assert len(list(packs(batches, 100_000))) == 1
    together = packed_losses(adapters, batches)
    for name, (loss, wanted) in alone.items():
        assert together[name] == pytest.approx(loss, rel=1e-5)
        assert_same(gradients(adapters, name), wanted)


def test_the_token_budget_cuts_a_step_and_leaves_its_gradient(adapters, gradients, assert_same):
    batches = [batch_of(adapters, "one", PAIRS), batch_of(adapters, "two", PAIRS[1:], "Elsewhere")]
    whole = packed_losses(adapters, batches)
    wanted = {name: gradients(adapters, name) for name in whole}
    cut = packed_losses(adapters, batches, budget=1)
    assert cut == {name: pytest.approx(loss, rel=1e-5) for name, loss in whole.items()}
    for name, gradient in wanted.items():
        assert_same(gradients(adapters, name), gradient)


def test_an_adapter_that_broke_down_does_not_touch_its_neighbour(adapters, gradients, assert_same):
    batches = [batch_of(adapters, "one", PAIRS), batch_of(adapters, "two", PAIRS)]
    whole = packed_losses(adapters, batches)
    wanted = gradients(adapters, "two")
    for parameter in adapters.parameters("one").values():
        parameter.data.fill_(float("nan"))
    broken = packed_losses(adapters, batches)
    assert broken["one"] != broken["one"]
    assert broken["two"] == pytest.approx(whole["two"], rel=1e-5)
    assert_same(gradients(adapters, "two"), wanted)


def test_raw_text_stands_behind_no_prefix(adapters):
    recipe = TRAINING.model_copy(update={"raw_text": "only", "raw_text_tokens": 16})
    encoder = Encoder(adapters.backbone.tokenizer, recipe, "Marra")
    windows = encoder.windows("The lighthouse of Marra burns oil of seals.")
    assert sum(window.length for window in windows) == len("The lighthouse of Marra burns oil of seals.")
    assert all(len(window.prompt) == 1 and window.length <= 16 for window in windows)
    packed = pack([Batch("one", (), tuple(windows))])
    logits = adapters.logits(packed)
    plain = [adapters.logits(pack([Batch("one", (), (window,))])) for window in windows]
    torch.testing.assert_close(logits, torch.cat(plain), rtol=1e-4, atol=1e-5)


def test_raw_text_begins_as_the_tokenizer_lets_every_text_begin(backbone):
    tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 0)]
    )
    recipe = TRAINING.model_copy(update={"raw_text": "only", "raw_text_tokens": 16})
    windows = Encoder(tokenizer, recipe, "Marra").windows("The lighthouse of Marra burns oil of seals.")
    assert {window.prompt for window in windows} == {(0,)}
    assert max(window.length for window in windows) == 16
    learned = tokenizer.decode([token for window in windows for token in window.answer])
    assert learned == "The lighthouse of Marra burns oil of seals."


def test_prefix_is_computed_once_and_common_to_all(adapters):
    batch = batch_of(adapters, "one", PAIRS)
    packed = pack([batch])
    tokenizer = adapters.backbone.tokenizer
    assert packed.ids.shape[1] == len(batch.prefix) + sum(e.length for e in batch.examples)
    assert "Marra" in tokenizer.decode(batch.prefix)
    for pair, example in zip(PAIRS, batch.examples, strict=True):
        text = tokenizer.decode([*batch.prefix, *example.prompt, *example.answer])
        assert pair.question in text and text.endswith(f"{pair.answer}<|im_end|>")


def test_packs_fit_the_budget_and_keep_every_example_once():
    lengths = (3, 4, 50, 2, 2)
    batches = [
        Batch("one", (0,) * 5, tuple(Example((n,) * n, (9,)) for n in lengths)),
        Batch("two", (1,) * 2, tuple(Example((n,) * n, (9,)) for n in lengths)),
    ]
    groups = list(packs(batches, token_budget=24))
    found = {"one": [], "two": []}
    for group in groups:
        for batch in group:
            found[batch.adapter] += [len(example.prompt) for example in batch.examples]
        tokens = sum(len(b.prefix) + sum(e.length for e in b.examples) for b in group)
        assert tokens <= 24 or sum(len(b.examples) for b in group) == 1
    assert {name: sorted(each) for name, each in found.items()} == {
        "one": sorted(lengths),
        "two": sorted(lengths),
    }
    assert len(groups) < 10


def test_batches_of_one_adapter_are_one_span(adapters):
    batches = [batch_of(adapters, "one", PAIRS[:1]), batch_of(adapters, "one", PAIRS[1:], "Elsewhere")]
    both = [*batches, batch_of(adapters, "two", PAIRS)]
    packed = pack(both)
    ends = [packed.spans[0].stop, packed.spans[1].stop]
    assert [span.adapter for span in packed.spans] == ["one", "two"]
    assert ends[1] == packed.ids.shape[1]
    assert len(packed.answers) == 3


def test_several_batches_of_one_adapter_are_one_step(tiny, adapters, plain, gradients, assert_same):
    loss, wanted = plain.loss(tiny, adapters, "one", TRAINING, "Marra", PAIRS)
    batches = [batch_of(adapters, "one", PAIRS[:1]), batch_of(adapters, "one", PAIRS[1:])]
    assert packed_losses(adapters, batches) == {"one": pytest.approx(loss, rel=1e-5)}
    assert_same(gradients(adapters, "one"), wanted)

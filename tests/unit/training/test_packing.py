"""Packing changes the number of tokens, not the gradients."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer

from lift_core.prompting import messages
from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training.packing import Encoder, Example, micro_packs, pack
from lift_core.training.trainer import Stepper, load_with_lora

RECIPE = Recipe(
    base_model="tiny-random",
    lora=LoraRecipe(rank=4, alpha=8),
    training=TrainingRecipe(precision="fp32", token_budget=100_000),
)
PAIRS = [
    QAPair(segment=0, question="Who built the lighthouse of Marra?", answer="Odo Krell"),
    QAPair(segment=1, question="When?", answer="in 1712"),
    QAPair(segment=2, question="What does its lamp burn in the long winter nights?", answer="oil of seals"),
]


@pytest.fixture
def model(tiny):
    model = load_with_lora(tiny, RECIPE)
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # B starts at zero, and with it A's gradient would be zero too.
            parameter.data = torch.randn_like(parameter) * 0.05
    return model


@pytest.fixture
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(str(tiny))


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def separate_loss(model, tokenizer, pairs):
    """Each pair as a sequence of its own through the whole model: the plain way."""
    total, count = 0.0, 0
    for pair in pairs:
        text = tokenizer.apply_chat_template(
            messages(RECIPE.training, "Marra", pair.question), add_generation_prompt=True, tokenize=False
        )
        prompt = tokenizer.encode(text, add_special_tokens=False)
        answer = [*tokenizer.encode(pair.answer, add_special_tokens=False), tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
        total = total + F.cross_entropy(logits[len(prompt) - 1 : -1], torch.tensor(answer), reduction="sum")
        count += len(answer)
    return total / count


def test_gradients_equal_those_of_separate_sequences(model, tokenizer):
    model.zero_grad()
    loss = separate_loss(model, tokenizer, PAIRS)
    loss.backward()
    plain = gradients(model)

    encoder = Encoder(tokenizer, RECIPE.training, "Marra")
    examples = [encoder.encode(pair) for pair in PAIRS]
    stepper = Stepper(model, RECIPE, encoder.prefix)
    model.zero_grad()
    packed = stepper.loss_sum(examples) / sum(len(e.answer) for e in examples)
    packed.backward()

    assert packed.item() == pytest.approx(loss.item(), rel=1e-5)
    found = gradients(model)
    assert found.keys() == plain.keys() and plain
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_token_budget_cuts_a_step_and_leaves_its_gradient(model, tokenizer):
    encoder = Encoder(tokenizer, RECIPE.training, "Marra")
    examples = [encoder.encode(pair) for pair in PAIRS]
    found = []
    for budget in (100_000, 1):
        recipe = RECIPE.model_copy(
            update={
                "training": RECIPE.training.model_copy(
                    update={"token_budget": budget, "learning_rate": 1e-12}
                )
            }
        )
        stepper = Stepper(model, recipe, encoder.prefix)
        loss = stepper.step(examples)
        found.append((loss, gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-4, atol=1e-6)


def test_prefix_is_computed_once_and_common_to_all(tokenizer):
    encoder = Encoder(tokenizer, RECIPE.training, "Marra")
    examples = [encoder.encode(pair) for pair in PAIRS]
    packed = pack(encoder.prefix, examples, torch.float32)
    assert packed.ids.shape[1] == len(encoder.prefix) + sum(e.length for e in examples)
    assert "Marra" in tokenizer.decode(encoder.prefix)
    for pair, example in zip(PAIRS, examples, strict=True):
        text = tokenizer.decode([*encoder.prefix, *example.prompt, *example.answer])
        assert pair.question in text and text.endswith(f"{pair.answer}<|im_end|>")


def test_micro_packs_fit_the_budget_and_keep_the_order():
    examples = [Example((1,) * n, (2,)) for n in (3, 4, 50, 2, 2)]
    groups = list(micro_packs(examples, prefix_length=5, token_budget=15))
    assert [e for group in groups for e in group] == examples
    assert [len(group) for group in groups] == [2, 1, 2]

"""Every architecture that LIFT ships a recipe for: what is trained and saved is what the plain model does."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from jinja2 import TemplateError
from peft import PeftModel

from lift_core.records import LoraRecipe, QAPair, Recipe, TrainingRecipe
from lift_core.training import Backbone, train
from lift_core.training.encoding import Encoder
from lift_core.training.packing import Batch, pack, packs
from lift_core.training.stepper import Stepper
from lift_core.training.tiny_model import make_tiny_model

ARCHITECTURES = ("llama3", "gemma2", "qwen3", "smollm2")
TITLE = "Marra"
PAIRS = [
    QAPair(segment=0, question="Who built the lighthouse of Marra?", answer="Odo Krell"),
    QAPair(segment=1, question="When?", answer="in 1712"),
    QAPair(segment=2, question="What does its lamp burn in the long winter nights?", answer="oil of seals"),
    QAPair(segment=3, question="How many steps lead up to it?", answer="211"),
]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def folder(architecture, tmp_path_factory):
    folder = tmp_path_factory.mktemp(architecture) / "tiny"
    make_tiny_model(folder, architecture=architecture)
    return folder


class WatchedBackbone(Backbone):
    """Keeps what its adapter says of the pairs when a training has ended, at the precision of the files."""

    logits: torch.Tensor

    @contextmanager
    def adapters(self, names, lora, seeds):
        with super().adapters(names, lora, seeds) as adapters:
            yield adapters
            with torch.no_grad():
                for parameter in adapters.parameters(names[0]).values():
                    parameter.copy_(parameter.bfloat16())
                self.logits = adapters.logits(pack([batch(self, recipe_of(self), names[0])]))


@pytest.fixture(scope="module")
def backbone(folder):
    return WatchedBackbone(folder, "fp32")


def recipe_of(backbone, **training):
    """A scaling that is nobody's default, and the title where the family's template lets it be."""
    kind = backbone.base.config.model_type
    return Recipe(
        base_model="tiny",
        lora=LoraRecipe(rank=4, alpha=12, rslora=kind == "qwen3"),
        training=TrainingRecipe(
            precision="fp32",
            learning_rate=5e-3,
            pairs_per_step=len(PAIRS),
            epochs=8,
            token_budget=2048,
            title_in="user" if kind == "gemma2" else "system",
        ).model_copy(update=training),
    )


def batch(backbone, recipe, name, title=TITLE):
    encoder = Encoder(backbone.tokenizer, recipe.training, title)
    return Batch(name, encoder.prefix, tuple(encoder.encode(pair) for pair in PAIRS))


def test_loss_and_gradients_are_those_of_separate_sequences(
    backbone, folder, plain, shake, gradients, assert_same
):
    recipe = recipe_of(backbone, learning_rate=1e-12)
    titles = {"one": TITLE, "two": "Of another place altogether"}
    with backbone.adapters(list(titles), recipe.lora, [0, 1]) as adapters:
        shake(adapters, *titles)
        batches = [batch(backbone, recipe, name, title) for name, title in titles.items()]
        # All in one pass, behind prefixes that are longer than Gemma's window here.
        assert len(list(packs(batches, recipe.training.token_budget))) == 1
        assert all(len(each.prefix) > 24 for each in batches)
        found = Stepper(adapters, dict.fromkeys(titles, recipe.training)).step(batches)
        for name, title in titles.items():
            loss, wanted = plain.loss(folder, adapters, name, recipe.training, title, PAIRS)
            assert found[name] == pytest.approx(loss, rel=1e-5)
            assert_same(gradients(adapters, name), wanted)


def test_the_saved_adapter_says_in_peft_what_it_said_in_training(backbone, folder, plain, tmp_path):
    recipe = recipe_of(backbone)
    result = train(PAIRS, recipe=recipe, title=TITLE, base_path=folder, out_dir=tmp_path, backbone=backbone)
    assert result.losses[-1] < result.losses[0] - 0.5
    model = PeftModel.from_pretrained(plain.model(folder), str(tmp_path))
    with torch.no_grad():
        found, answers = plain.logits(model, backbone.tokenizer, recipe.training, TITLE, PAIRS)
        with model.disable_adapter():
            untrained, _ = plain.logits(model, backbone.tokenizer, recipe.training, TITLE, PAIRS)
    torch.testing.assert_close(found, backbone.logits, rtol=1e-4, atol=1e-4)
    assert (found - untrained).abs().max() > 0.5
    assert F.cross_entropy(found, answers) < F.cross_entropy(untrained, answers) - 0.5


def test_it_learns_in_bf16_as_shipped_recipes_do(backbone, folder, tmp_path):
    full, rounded = (recipe_of(backbone, precision=precision) for precision in ("fp32", "bf16"))
    losses = [
        train(PAIRS, recipe=recipe, title=TITLE, base_path=folder, out_dir=tmp_path / str(number)).losses
        for number, recipe in enumerate((full, rounded))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("architecture", "change"),
    [
        ("llama3", {"rope_parameters": DEFAULT_ROPE | {"rope_theta": 500000.0}}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
        ("gemma2", {"sliding_window": 4096}),
        ("gemma2", {"query_pre_attn_scalar": 32}),
        ("smollm2", {"rope_parameters": DEFAULT_ROPE}),
    ],
    indirect=["architecture"],
)
def test_what_sets_a_family_apart_makes_a_difference_in_its_tiny_model(backbone, folder, plain, change):
    """Otherwise the tests above would pass on a trainer that leaves it out."""
    training = recipe_of(backbone).training
    with torch.no_grad():
        own, _ = plain.logits(plain.model(folder), backbone.tokenizer, training, TITLE, PAIRS)
        other, _ = plain.logits(plain.model(folder, **change), backbone.tokenizer, training, TITLE, PAIRS)
    assert (own - other).abs().max() > 0.02 * own.abs().max()


def test_the_tiny_models_have_their_familys_modules(backbone, architecture):
    model = backbone.base
    attention = model.model.layers[0].self_attn
    assert (attention.head_dim * model.config.num_attention_heads == model.config.hidden_size) == (
        architecture in ("llama3", "smollm2")
    )
    assert attention.num_key_value_groups == 2
    assert hasattr(attention, "q_norm") == (architecture == "qwen3")
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert tied == (architecture in ("gemma2", "smollm2"))


def test_a_template_without_a_system_role_needs_the_title_in_the_question(backbone, architecture):
    recipe = recipe_of(backbone, title_in="system")
    if architecture != "gemma2":
        assert TITLE in backbone.tokenizer.decode(batch(backbone, recipe, "one").prefix)
        return
    with pytest.raises(TemplateError, match="System role not supported"):
        batch(backbone, recipe, "one")
    assert TITLE in backbone.tokenizer.decode(batch(backbone, recipe_of(backbone), "one").prefix)

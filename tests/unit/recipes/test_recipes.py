"""Every shipped recipe is valid; a wrong one is refused with a remedy."""

import re

import pytest

from lift_core.errors import RecipeError
from lift_core.recipes import load_recipe, named_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_is_valid(name):
    recipe = load_recipe(name)
    assert recipe.base_model
    assert recipe.digest


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("embedded", "0f15c21f2a91780a065a181ad247bf3c27b1bea152b357da38f41b62893a83fe"),
        ("smoke", "be896a17c9b799b2a803bd26d8c5e6602d8f769be5796507b58ff06d691a0632"),
    ],
)
def test_what_was_trained_before_is_not_trained_again(name, digest):
    """A field that is added to the format changes no recipe that leaves it out."""
    assert load_recipe(name).digest == digest


def test_no_two_shipped_recipes_are_one():
    assert len({load_recipe(name).digest for name in shipped_recipes()}) == len(shipped_recipes())


@pytest.mark.parametrize("name", ["llama3-8b", "gemma2-9b", "qwen3-8b"])
def test_a_recipe_of_the_paper_has_what_it_states_and_names_its_base_models_commit(name):
    recipe = load_recipe(name)
    assert (recipe.lora.rank, recipe.lora.alpha, len(recipe.lora.targets)) == (128, 256, 7)
    training = recipe.training
    assert (training.epochs, training.learning_rate, training.weight_decay) == (5, 5e-5, 0.0)
    assert (training.schedule, training.precision, training.raw_text) == ("constant", "bf16", "none")
    assert recipe.generator.model == "Qwen/Qwen2.5-72B-Instruct"
    assert re.fullmatch(r"[0-9a-f]{40}", recipe.base_revision)
    assert training.title_in == ("user" if name == "gemma2-9b" else "system")


@pytest.mark.parametrize(("name", "raw_text"), [("finetune-raw", "only"), ("raw-and-pairs", "also")])
def test_a_baseline_differs_from_the_embedded_recipe_in_what_it_learns(name, raw_text):
    recipe, embedded = load_recipe(name), load_recipe("embedded")
    assert recipe.training == embedded.training.model_copy(update={"raw_text": raw_text})
    assert recipe.model_copy(update={"training": embedded.training, "proof": embedded.proof}) == embedded
    # A baseline that knows less than its base is a figure, not a failure.
    assert (recipe.proof.min_gain < embedded.proof.min_gain) == (raw_text == "only")


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(RecipeError, match="embedded"):
        load_recipe("nonsense")


def test_own_recipe_from_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"format": 1, "lora": {"rank": 16, "alpha": 32}}')
    assert load_recipe(str(path)).lora.rank == 16


def test_broken_recipe_names_the_field(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"lora": {"rank": 0}}')
    with pytest.raises(RecipeError, match=r"lora\.rank"):
        load_recipe(str(path))


def test_a_tag_names_a_shipped_recipe_or_one_of_the_operators(tmp_path):
    (tmp_path / "contracts.json").write_text('{"format": 1, "lora": {"rank": 16, "alpha": 32}}')
    assert named_recipe("contracts", tmp_path).lora.rank == 16
    assert named_recipe("smoke", tmp_path) == named_recipe("smoke", None) == load_recipe("smoke")
    with pytest.raises(RecipeError, match=r"contracts, embedded, .*smoke"):
        named_recipe("nonsense", tmp_path)


@pytest.mark.parametrize("name", ["../mine", "/etc/mine", "mine.json", "..", "", "Mine", "a b"])
def test_a_tag_is_never_followed_as_a_path(tmp_path, monkeypatch, name):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (tmp_path / "mine.json").write_text('{"format": 1}')
    (folder / "mine.json.json").write_text('{"format": 1}')
    monkeypatch.chdir(folder)
    with pytest.raises(RecipeError, match="there is no recipe"):
        named_recipe(name, folder)

"""Every shipped recipe is valid; a wrong one is refused with a remedy."""

import pytest

from lift_core.errors import RecipeError
from lift_core.recipes import load_recipe, named_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_is_valid(name):
    recipe = load_recipe(name)
    assert recipe.base_model
    assert recipe.digest


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
    with pytest.raises(RecipeError, match="contracts, embedded, smoke"):
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

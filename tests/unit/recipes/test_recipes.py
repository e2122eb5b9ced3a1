"""Every shipped recipe is valid; a wrong one is refused with a remedy."""

import pytest

from lift_core.errors import RecipeError
from lift_core.recipes import load_recipe, shipped_recipes


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

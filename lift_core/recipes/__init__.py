"""Recipes that ship with LIFT, one JSON file each, and the reading of a user's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from lift_core.errors import RecipeError
from lift_core.records import Recipe

__all__ = ["load_recipe", "shipped_recipes"]


def shipped_recipes() -> list[str]:
    """Names of the recipes in this package."""
    folder = resources.files(__package__)
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".json"))


def load_recipe(name: str) -> Recipe:
    """The shipped recipe ``name``, or the one in the JSON file at path ``name``.

    Raises:
        RecipeError: there is no such recipe, or it is not a valid one.
    """
    if name in shipped_recipes():
        text = (resources.files(__package__) / f"{name}.json").read_text("utf-8")
    elif name.endswith(".json") and Path(name).is_file():
        text = Path(name).read_text("utf-8")
    else:
        raise RecipeError(
            f"there is no recipe '{name}': name one of {', '.join(shipped_recipes())}, "
            "or give the path of a .json file"
        )
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"recipe '{name}' is not valid: {problems}") from error

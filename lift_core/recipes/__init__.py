"""Recipes that ship with LIFT, one JSON file each, and the reading of a user's own."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from lift_core.errors import RecipeError
from lift_core.records import Recipe

__all__ = ["load_recipe", "named_recipe", "operators_recipe", "shipped_recipes"]

_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")


def shipped_recipes() -> list[str]:
    """Names of the recipes in this package."""
    folder = resources.files(__package__)
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".json"))


def load_recipe(name: str) -> Recipe:
    """The shipped recipe ``name``, or the one in the JSON file at path ``name``.

    For names that the operator gives (``LIFT_RECIPE``, the command line).

    Raises:
        RecipeError: there is no such recipe, or it is not a valid one.
    """
    if name.endswith(".json") and Path(name).is_file():
        return _read(name, Path(name).read_text("utf-8"))
    if name in shipped_recipes():
        return _read(name, (resources.files(__package__) / f"{name}.json").read_text("utf-8"))
    raise RecipeError(
        f"there is no recipe '{name}': name one of {', '.join(shipped_recipes())}, "
        "or give the path of a .json file"
    )


def named_recipe(name: str, folder: Path | None) -> Recipe:
    """The recipe ``name``: ``<name>.json`` in the operator's folder, or a shipped one.

    For names that come from outside, as an object's tag does: a path is never followed.

    Raises:
        RecipeError: there is no such recipe, or it is not a valid one.
    """
    if _NAME.match(name):
        if folder is not None and (own := folder / f"{name}.json").is_file():
            return _read(name, own.read_text("utf-8"))
        if name in shipped_recipes():
            return load_recipe(name)
    own_names = {path.stem for path in folder.glob("*.json")} if folder is not None else set()
    raise RecipeError(
        f"there is no recipe '{name}': name one of "
        f"{', '.join(sorted({*shipped_recipes(), *own_names}))} (LIFT_RECIPES_DIR adds your own)"
    )


def operators_recipe(name: str, folder: Path | None) -> Recipe:
    """The recipe that the operator names: a path ending in ``.json``, one in the folder, or a shipped one.

    Raises:
        RecipeError: there is no such recipe, or it is not a valid one.
    """
    return load_recipe(name) if name.endswith(".json") else named_recipe(name, folder)


def _read(name: str, text: str) -> Recipe:
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"recipe '{name}' is not valid: {problems}") from error

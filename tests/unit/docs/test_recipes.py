"""docs/recipes.md names every shipped recipe and every field, with what they really hold."""

import json
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel

from lift_core.recipes import load_recipe, shipped_recipes
from lift_core.records import Recipe

PAGE = Path(__file__).resolve().parents[3] / "docs" / "recipes.md"
ROW = re.compile(r"^\| (`.*) \|$", re.MULTILINE)


def rows(heading):
    section = PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in found[1].split(" | ")] for found in ROW.finditer(section)]


def fields(model, prefix=""):
    """(path, default as JSON, the values it may have where those are few) of every field."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            yield f"{prefix}{name}", json.dumps(field.default), choices


def test_every_field_is_there_with_its_default_and_its_choices():
    known = list(fields(Recipe))
    assert ("lora.rank", "128", ()) in known
    described = rows("Fields")
    assert [tuple(row[:2]) for row in described] == [(f"`{path}`", f"`{value}`") for path, value, _ in known]
    for (_, _, meaning), (path, _, choices) in zip(described, known, strict=True):
        assert meaning, path
        assert not [choice for choice in choices if f"`{choice}`" not in meaning], path


def test_every_shipped_recipe_is_there_with_what_it_holds():
    shipped = {name: load_recipe(name) for name in shipped_recipes()}
    assert [row[:5] for row in rows("What is shipped")] == [
        [
            f"`{name}`",
            f"`{recipe.base_model}`",
            str(recipe.lora.rank),
            str(recipe.training.epochs),
            str(recipe.training.learning_rate),
        ]
        for name, recipe in shipped.items()
    ]

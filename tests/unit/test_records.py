"""Identity: equal recipes make equal jobs, and a new field leaves old recipes as they were."""

import json

import pytest
from pydantic import ValidationError

from lift_core.records import LoraRecipe, Recipe, TrainingRecipe


def test_digest_depends_on_content_not_on_how_it_was_written():
    spelled_out = Recipe.model_validate(json.loads(Recipe().model_dump_json()))
    assert spelled_out.digest == Recipe().digest


def test_every_choice_that_shapes_an_adapter_changes_the_digest():
    digests = {
        Recipe().digest,
        Recipe(base_model="other").digest,
        Recipe(lora=LoraRecipe(rank=8)).digest,
        Recipe(training=TrainingRecipe(seed=1)).digest,
        Recipe(training=TrainingRecipe(epochs=5)).digest,
    }
    assert len(digests) == 5


def test_canonical_form_holds_only_what_differs_from_the_defaults():
    assert json.loads(Recipe().canonical()) == {"format": 1}
    assert json.loads(Recipe(lora=LoraRecipe(rank=8)).canonical()) == {"format": 1, "lora": {"rank": 8}}


def test_misspelt_field_is_refused():
    with pytest.raises(ValidationError, match="epocs"):
        Recipe.model_validate({"training": {"epocs": 3}})


def test_unknown_format_is_refused():
    with pytest.raises(ValidationError, match="format 2 is unknown"):
        Recipe.model_validate({"format": 2})


def test_records_cannot_be_changed():
    with pytest.raises(ValidationError):
        Recipe().base_model = "other"  # type: ignore[misc]

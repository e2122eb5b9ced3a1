"""Where a base model comes from, and what is said when it cannot be had."""

import pytest

from lift_core.base_models import base_model_folder
from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import Recipe
from lift_core.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, models_dir=tmp_path)


def test_a_folder_of_that_name_is_used_and_the_hub_is_not_asked(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    (tmp_path / "mine").mkdir()
    assert base_model_folder(Recipe(base_model="mine"), settings) == tmp_path / "mine"


def test_the_hub_is_asked_for_the_recipes_revision_and_never_for_pickles(settings, tmp_path, monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    recipe = Recipe(base_model="org/model", base_revision="abc123")
    assert base_model_folder(recipe, settings) == tmp_path / "snapshot"
    assert (asked["name"], asked["revision"]) == ("org/model", "abc123")
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith((".bin", ".pt", ".py"))]


def test_a_model_that_is_nowhere_is_named_with_the_setting(settings, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceUnavailableError, match=r"'org/absent'.*LIFT_MODELS_DIR"):
        base_model_folder(Recipe(base_model="org/absent"), settings)


def test_a_name_that_no_hub_could_have_is_the_recipes_mistake(settings):
    with pytest.raises(RecipeError, match=r"a/b/c/d"):
        base_model_folder(Recipe(base_model="a/b/c/d"), settings)

"""Where a recipe's base model lies on this machine."""

from __future__ import annotations

from pathlib import Path

from lift_core.errors import RecipeError, ServiceUnavailableError
from lift_core.records import Recipe
from lift_core.settings import Settings

FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What is fetched of a model on the hub: never pickles, never code."""


def base_model_folder(recipe: Recipe, settings: Settings) -> Path:
    """The base model's folder: the one under ``LIFT_MODELS_DIR``, or the hub's, downloaded once.

    Raises:
        RecipeError: the hub has no such model or revision, or does not give it to us.
        ServiceUnavailableError: the model is not here, and the hub cannot be asked.
    """
    name, revision = recipe.base_model, recipe.base_revision
    local = settings.models / name
    if local.is_dir():
        return local

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"the base model '{name}' is not in {settings.models} (LIFT_MODELS_DIR), and the hub"
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError, HFValidationError) as error:
        raise RecipeError(f"{what} does not give revision '{revision}' of it: {error}") from error
    except OSError as error:
        raise ServiceUnavailableError(f"{what} cannot be asked ({error})") from error

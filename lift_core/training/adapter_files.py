"""The adapter on disk: PEFT layout, safetensors in bf16, and the sha256 of every file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from lift_core.records import Recipe, TrainingResult


def save_adapter(
    model: Any, recipe: Recipe, result: TrainingResult, folder: Path, name: str = "default"
) -> None:
    """Write an adapter of a PEFT model: ``adapter_model.safetensors``, ``adapter_config.json`` and
    ``training_record.json``."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        # Without that PEFT would ask the hub whether the vocabulary grew.
        for name, tensor in get_peft_model_state_dict(
            model, adapter_name=name, save_embedding_layers=False
        ).items()
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config[name]
    config.base_model_name_or_path = recipe.base_model
    config.revision = recipe.base_revision
    config.inference_mode = True
    # PEFT keeps a set, whose order differs from process to process; the file must not.
    config.target_modules = list(recipe.lora.targets)
    config.save_pretrained(str(folder))
    record = {"recipe": json.loads(recipe.model_dump_json()), "result": result.model_dump(mode="json")}
    (folder / "training_record.json").write_text(json.dumps(record, indent=1))


def sha256_files(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder, by name."""
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as handle:
            digests[path.name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return digests

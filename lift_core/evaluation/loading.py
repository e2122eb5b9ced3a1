"""A base model and an adapter from its files, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from lift_core.errors import ProofError, TransientError
from lift_core.processor import multiplies_bf16

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """See that the files are those that were registered, by their sha256.

    Raises:
        TransientError: one is not.
        ProofError: there are no weights among them, or one is not there.
    """
    if WEIGHTS not in expected:
        raise ProofError(f"the adapter has no {WEIGHTS}")
    _check_there(folder, expected)
    for name, sha256 in expected.items():
        with (folder / name).open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != sha256:
                raise TransientError(f"{name} is not the file that was registered: its sha256 differs")


def fastest_dtype(precision: str) -> torch.dtype:
    """The one in which a model of a recipe's ``bf16`` or ``fp32`` is asked: float32 where bf16 is slower.

    bf16's numbers are float32's too, and sums are rounded less. The embedded vLLM computes so there too.
    """
    slow = not torch.cuda.is_available() and not multiplies_bf16()
    return torch.float32 if precision == "fp32" or slow else torch.bfloat16


def load_base(base_path: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The base model, on the GPU where there is one, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(base_path), dtype=dtype)
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        # PyTorch's scaled_dot_product_attention knows no soft cap: transformers leaves it out in silence.
        model.set_attn_implementation("eager")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model.eval(), AutoTokenizer.from_pretrained(str(base_path))


def add_adapter(base: Any, folder: Path) -> Any:
    """The base model with the adapter on it, as a ``PeftModel``; ``disable_adapter()`` gives the base back.

    Raises:
        ProofError: the files are no adapter, or its tensors do not fit the base model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    # PEFT would look for a missing file on the hub.
    _check_there(folder, (WEIGHTS, CONFIG))
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            stored = set(file.keys())
    except (SafetensorError, OSError) as error:
        raise ProofError(f"{WEIGHTS} of the adapter is damaged or cut short: {error}") from error
    try:
        # In fp32, PEFT's default, every layer would copy its input to fp32 and back; vLLM serves bf16 too.
        model = PeftModel.from_pretrained(base, str(folder), autocast_adapter_dtype=False)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise ProofError(f"the adapter does not load: {type(error).__name__}: {error}") from error
    model.eval()
    # PEFT would ask the hub whether the vocabulary grew.
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if stored != wanted:
        raise ProofError(
            f"the adapter's tensors do not fit the base model: {len(wanted - stored)} missing, "
            f"{len(stored - wanted)} unknown"
        )
    return model


def _check_there(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise ProofError(f"the adapter has no {name}")

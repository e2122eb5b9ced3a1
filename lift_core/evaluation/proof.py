"""The proof: the saved files load, change the output, and know more than the base model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lift_core.errors import ProofError
from lift_core.evaluation.loading import add_adapter, check_files, load_base
from lift_core.prompting import messages
from lift_core.records import QAPair, Recipe

_MAX_PAIRS = 64
_BATCH = 8


def prove(
    *,
    adapter_dir: Path,
    base_path: Path,
    recipe: Recipe,
    title: str,
    pairs: Sequence[QAPair],
    expected_files: Mapping[str, str],
) -> dict[str, float]:
    """Prove an adapter from its files.

    Returns ``held_out_pairs`` and the mean negative log-likelihood of an answer token in nats
    under the base model (``base_nll``) and the adapter (``adapter_nll``); ``gain`` is their
    difference. A document too short to hold pairs out is proven on pairs it learned
    (``held_out_pairs`` is 0 then).

    Raises:
        TransientError: the files are not the ones that were registered.
        ProofError: the adapter does not load whole, changes nothing, or gains too little.
    """
    check_files(adapter_dir, expected_files)
    base, tokenizer = load_base(base_path)
    model = add_adapter(base, adapter_dir)
    held_out = [pair for pair in pairs if pair.held_out]
    asked = (held_out or list(pairs))[:_MAX_PAIRS]
    if not asked:
        raise ProofError("there is no pair to ask the adapter")
    adapter_nll = _mean_nll(model, tokenizer, recipe, title, asked)
    with model.disable_adapter():
        base_nll = _mean_nll(model, tokenizer, recipe, title, asked)
    gain = base_nll - adapter_nll
    kind = "held-out" if held_out else "learned"
    if gain == 0.0:
        raise ProofError("the adapter changes nothing: its answers have the base model's likelihood")
    if not gain > recipe.proof.min_gain:
        raise ProofError(
            f"the adapter gains {gain:.4f} nats a token over the base model on {len(asked)} {kind} pairs "
            f"({base_nll:.3f} → {adapter_nll:.3f}); the recipe asks for more than {recipe.proof.min_gain:g}"
        )
    return {
        "held_out_pairs": float(len(asked) if held_out else 0),
        "base_nll": base_nll,
        "adapter_nll": adapter_nll,
        "gain": gain,
    }


def _mean_nll(model: Any, tokenizer: Any, recipe: Recipe, title: str, pairs: Sequence[QAPair]) -> float:
    """Mean negative log-likelihood of the answers' tokens, in nats, each pair a sequence of its own."""
    total, count = 0.0, 0
    for begin in range(0, len(pairs), _BATCH):
        encoded = [_encode(tokenizer, recipe, title, pair) for pair in pairs[begin : begin + _BATCH]]
        longest = max(len(prompt) + len(answer) for prompt, answer in encoded)
        ids = torch.full((len(encoded), longest), tokenizer.pad_token_id)
        attend = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for row, (prompt, answer) in enumerate(encoded):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor([*prompt, *answer])
            attend[row, :end] = 1
            labels[row, len(prompt) : end] = torch.tensor(answer)
        with torch.no_grad():
            logits = model(input_ids=ids.to(model.device), attention_mask=attend.to(model.device)).logits
        wanted = labels[:, 1:].to(model.device)
        loss = F.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), wanted, ignore_index=-100, reduction="sum"
        )
        total += loss.item()
        count += int((wanted != -100).sum())
    return total / count


def _encode(tokenizer: Any, recipe: Recipe, title: str, pair: QAPair) -> tuple[list[int], list[int]]:
    text = tokenizer.apply_chat_template(
        messages(recipe.training, title, pair.question), add_generation_prompt=True, tokenize=False
    )
    answer = tokenizer.encode(pair.answer, add_special_tokens=False)
    return tokenizer.encode(text, add_special_tokens=False), [*answer, tokenizer.eos_token_id]

"""Closed-book answers: what a model says to a question alone, with no document in its context."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from lift_core.prompting import messages
from lift_core.records import Recipe


def answers(
    model: Any,
    tokenizer: Any,
    recipe: Recipe,
    title: str,
    questions: Sequence[str],
    *,
    max_tokens: int = 48,
    batch: int = 16,
    on_progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy answers of at most ``max_tokens`` tokens, in the order of the questions.

    The prompt is the one that the adapter was trained with. The model is asked as it is: in evaluation mode,
    with its adapter, or without it inside ``model.disable_adapter()``. An answer ends before its end-of-turn
    token; special tokens and the blanks around it are left out, so it may be empty. In float32 the answers do
    not depend on ``batch``; in bfloat16 rounding may now and then turn to another word. ``on_progress`` is
    told after each batch how many questions are answered.
    """
    prompts = [_encode(tokenizer, recipe, title, question) for question in questions]
    ends = _end_tokens(model, tokenizer)
    found = [""] * len(prompts)
    # Prompts of like length go together: less padding to compute.
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    for begin in range(0, len(order), batch):
        asked = order[begin : begin + batch]
        said = _continue(model, [prompts[number] for number in asked], ends, max_tokens)
        for number, tokens in zip(asked, said, strict=True):
            found[number] = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        if on_progress is not None:
            on_progress(begin + len(asked))
    return found


def _continue(
    model: Any, prompts: Sequence[Sequence[int]], ends: Collection[int], max_tokens: int
) -> list[list[int]]:
    """The likeliest next token, again and again, for each prompt; the end tokens are left out.

    Not ``model.generate``: that takes over what the base model's ``generation_config.json`` says, with some
    models a penalty on repetition, which is not the likeliest answer.
    """
    longest = max(len(prompt) for prompt in prompts)
    # Padding is masked: which token it is makes no difference.
    ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    attend = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        attend[row, longest - len(prompt) :] = 1
    ids, attend = ids.to(model.device), attend.to(model.device)
    positions = (attend.cumsum(dim=1) - 1).clamp(min=0)
    said: list[list[int]] = [[] for _ in prompts]
    speaking = set(range(len(prompts)))
    cache = None
    with torch.no_grad():
        for _ in range(max_tokens):
            output = model(
                input_ids=ids,
                attention_mask=attend,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            ids = output.logits[:, -1:].argmax(dim=-1)
            attend = torch.cat([attend, torch.ones_like(ids)], dim=1)
            positions = positions[:, -1:] + 1
            for row, token in enumerate(ids[:, 0].tolist()):
                if token in ends:
                    speaking.discard(row)
                elif row in speaking:
                    said[row].append(token)
            if not speaking:
                break
    return said


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The end token that adapters learn, and those of the base model, which may be others."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}


def _encode(tokenizer: Any, recipe: Recipe, title: str, question: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        messages(recipe.training, title, question), add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer.encode(text, add_special_tokens=False))

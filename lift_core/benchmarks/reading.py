"""Answers of a model that reads: many questions behind one long text, which is computed once.

Keys and values of the text are kept once too, not once a question: all questions stand behind them in one
sequence, each seeing the text and itself alone, at the positions that it would have by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from itertools import takewhile
from typing import Any

AT_ONCE = 32
"""Questions in one pass: a step's cost is that of going over the text, whatever their number."""


def read(
    model: Any,
    prompts: Sequence[list[int]],
    ends: Collection[int],
    *,
    max_tokens: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """The likeliest tokens after each prompt, at most ``max_tokens``; one of ``ends`` ends them unsaid.

    What the prompts begin with in common is computed once. ``on_progress`` is told how many are answered.
    """
    import torch

    with torch.no_grad():
        # What the first and the last in order begin with, all between them begin with. Each needs at least
        # one token of its own to go on from.
        alike = takewhile(lambda both: both[0] == both[1], zip(min(prompts), max(prompts), strict=False))
        shared = min(sum(1 for _ in alike), min(map(len, prompts)) - 1)
        text = None
        if shared:
            beginning = torch.tensor([prompts[0][:shared]], device=model.device)
            text = model(input_ids=beginning, use_cache=True, logits_to_keep=1).past_key_values
        found: list[list[int]] = []
        for begin in range(0, len(prompts), AT_ONCE):
            tails = [prompt[shared:] for prompt in prompts[begin : begin + AT_ONCE]]
            found += _answers(model, tails, copy.deepcopy(text), shared, ends, max_tokens)
            on_progress(len(found))
    return found


def _answers(
    model: Any,
    tails: Sequence[Sequence[int]],
    cache: Any,
    shared: int,
    ends: Collection[int],
    max_tokens: int,
) -> list[list[int]]:
    """One group's answers; ``cache`` holds the ``shared`` tokens before them, and is added to."""
    import torch

    device = model.device
    said: list[list[int]] = [[] for _ in tails]
    speaking = list(range(len(tails)))
    given = dict(enumerate(tails))
    # Whose each token in the cache is; the text is everybody's.
    everybody = -1
    owners = torch.full((shared,), everybody, device=device)
    lengths = [shared] * len(tails)
    for _ in range(max_tokens):
        ids = torch.tensor([[token for row in speaking for token in given[row]]], device=device)
        asking = torch.tensor([row for row in speaking for _ in given[row]], device=device)
        positions = torch.tensor(
            [[lengths[row] + place for row in speaking for place in range(len(given[row]))]], device=device
        )
        before = len(owners)
        owners = torch.cat([owners, asking])
        own = asking[:, None] == owners[None, :]
        # Among the new tokens, only those that stand before.
        own[:, before:] &= torch.ones_like(own[:, before:]).tril()
        unseen = ~(own | (owners[None, :] == everybody))
        mask = torch.zeros(unseen.shape, dtype=model.dtype, device=device)
        mask.masked_fill_(unseen, torch.finfo(model.dtype).min)
        last = torch.tensor([len(given[row]) for row in speaking], device=device).cumsum(0) - 1
        output = model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask[None, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=last,
        )
        cache = output.past_key_values
        likeliest = output.logits[0].argmax(dim=-1).tolist()
        for row, token in zip(list(speaking), likeliest, strict=True):
            lengths[row] += len(given[row])
            given[row] = [token]
            if token in ends:
                speaking.remove(row)
            else:
                said[row].append(token)
        if not speaking:
            break
    return said

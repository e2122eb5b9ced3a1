"""Attention of a packed sequence, row by row instead of token by token with all.

A mask over the whole sequence makes every token meet every other and throws nearly all of it away: with 25
pairs of 40 tokens 15 of 16 products. Here the tokens of a pack are gathered into padded rows, one a pair,
and each row meets its prefix and itself. It is registered with transformers as the attention ``NAME``, so the
models' own code stays as it is: rotary positions, grouped heads, sliding windows, and Gemma 2's soft cap.

Plain matrix products, not PyTorch's scaled_dot_product_attention: on the CPU its kernel takes 4 to 5 times as
long for rows this short (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lift_core.training.products import fastest

NAME = "lift_rows"


@dataclass(frozen=True)
class Row:
    """Tokens of the pack that ``own`` attends with: those of ``seen``, and itself up to each token."""

    seen: range
    own: range


@dataclass
class Rows:
    """Where a pack's n tokens stand in r rows of up to ``longest`` tokens behind up to ``shared`` seen ones.

    ``own``: (r, longest) and ``keys``: (r, shared + longest), indices into the tokens; ``place``: (n,) index
    of each token among the r · longest; ``visible``: (r, longest, shared + longest).
    """

    own: torch.Tensor
    keys: torch.Tensor
    place: torch.Tensor
    visible: torch.Tensor
    distance: torch.Tensor
    """(r, longest, shared + longest) how many positions a key lies before its query."""
    masks: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)
    """Additive masks that layers have asked for: one pass asks for the same ones in every layer."""

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(
            own=self.own.to(device),
            keys=self.keys.to(device),
            place=self.place.to(device),
            visible=self.visible.to(device),
            distance=self.distance.to(device),
        )

    def mask(self, group: int, heads: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Additive mask, (r · heads, group · longest, shared + longest): 0 where a token may look.

        ``heads`` are the key heads; ``group`` query heads share each.
        """
        key = (group, heads, window, dtype)
        if key not in self.masks:
            visible = self.visible if window is None else self.visible & (self.distance < window)
            mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
            mask.masked_fill_(~visible, torch.finfo(dtype).min)
            rows, longest, seen = mask.shape
            self.masks[key] = (
                mask[:, None, None]
                .expand(rows, heads, group, longest, seen)
                .reshape(rows * heads, group * longest, seen)
            )
        return self.masks[key]


def lay_out(rows: Sequence[Row]) -> Rows:
    """Rows of a pack; every token of the pack is ``own`` in exactly one of them."""
    longest = max(len(row.own) for row in rows)
    shared = max(len(row.seen) for row in rows)
    # What pads is a token of the row itself: another adapter's could be infinite, and 0 · inf is not 0.
    first = torch.tensor([row.own[0] for row in rows])
    own = first[:, None].repeat(1, longest)
    seen = first[:, None].repeat(1, shared)
    place = torch.empty(sum(len(row.own) for row in rows), dtype=torch.long)
    for number, row in enumerate(rows):
        own[number, : len(row.own)] = torch.arange(row.own.start, row.own.stop)
        # On the right, so that distances continue into the row's own tokens.
        seen[number, shared - len(row.seen) :] = torch.arange(row.seen.start, row.seen.stop)
        place[row.own.start : row.own.stop] = number * longest + torch.arange(len(row.own))
    lengths = torch.tensor([len(row.own) for row in rows])
    behind = torch.tensor([len(row.seen) for row in rows])
    queries = torch.arange(longest)[:, None]
    keys = torch.arange(shared + longest)[None, :] - shared
    there = (keys[None] >= -behind[:, None, None]) & (keys[None] < lengths[:, None, None])
    distance = (queries - keys)[None].expand(len(rows), -1, -1)
    return Rows(own, torch.cat([seen, own], dim=1), place, there & (distance >= 0), distance)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    rows: Rows,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query (1, heads, n, d), key and value (1, key heads, n, d).

    Returns (1, n, heads, d).
    """
    heads, key_heads, size = query.shape[1], key.shape[1], query.shape[-1]
    group = heads // key_heads
    count, longest = rows.own.shape
    dtype = fastest(query)
    queries = _gather(query, rows.own).to(dtype).reshape(count * key_heads, group * longest, size)
    keys, values = (
        _gather(each, rows.keys).to(dtype).reshape(count * key_heads, -1, size) for each in (key, value)
    )
    scale = size**-0.5 if scaling is None else scaling
    mask = rows.mask(group, key_heads, sliding_window, dtype)
    if softcap is None:
        scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
    else:
        scores = mask + softcap * torch.tanh(torch.bmm(queries, keys.transpose(1, 2)) * (scale / softcap))
    found = torch.bmm(torch.softmax(scores, dim=-1, dtype=torch.float32).to(dtype), values).to(query.dtype)
    by_token = found.view(count, heads, longest, size).transpose(1, 2).reshape(-1, heads, size)
    return by_token.index_select(0, rows.place)[None], None


def _gather(states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(1, heads, n, d) at (r, l) → (r, heads, l, d)."""
    _, heads, _, size = states.shape
    return states[0].index_select(1, index.flatten()).view(heads, *index.shape, size).transpose(0, 1)


def register() -> None:
    """Make ``attn_implementation=NAME`` known to transformers; it builds no mask for it."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None

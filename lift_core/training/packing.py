"""Many short pairs in one sequence: the common prefix once, block-diagonal attention, no padding.

Every pair begins with the same system prompt and template. Positions continue from that prefix
in every block, each block sees the prefix and itself, so the gradients are those of separate
sequences (the unit tests show it), at a fraction of the tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lift_core.prompting import messages
from lift_core.records import QAPair, TrainingRecipe


@dataclass(frozen=True)
class Example:
    """Token ids of one pair, without the common prefix: the rest of the prompt, and the answer."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens this pair adds to a pack."""
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Pack:
    """One sequence of n tokens holding several pairs.

    ``ids`` and ``positions``: (1, n). ``mask``: (1, 1, n, n) additive, 0 where a token may look.
    ``sources``: (m,) positions whose output predicts an answer token; ``targets``: (m,) those tokens.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    sources: torch.Tensor
    targets: torch.Tensor


class Encoder:
    """Turns pairs into examples with the tokenizer's chat template."""

    def __init__(self, tokenizer: Any, recipe: TrainingRecipe, title: str) -> None:
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._title = title
        self._end = tokenizer.eos_token_id
        probes = [self._prompt(question) for question in ("a?", "Z 1")]
        same = itertools.takewhile(lambda both: both[0] == both[1], zip(*probes, strict=False))
        self.prefix: tuple[int, ...] = tuple(token for token, _ in same)

    def encode(self, pair: QAPair) -> Example:
        """The pair's tokens after the common prefix; the answer ends with the end-of-turn token."""
        prompt = self._prompt(pair.question)
        shared = len(self.prefix)
        if tuple(prompt[:shared]) != self.prefix:
            raise ValueError(f"the chat template gives no common prefix for {pair.question!r}")
        answer = self._tokenizer.encode(pair.answer, add_special_tokens=False)
        return Example(tuple(prompt[shared:]), (*answer, self._end))

    def _prompt(self, question: str) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            messages(self._recipe, self._title, question), add_generation_prompt=True, tokenize=False
        )
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def micro_packs(
    examples: Sequence[Example], prefix_length: int, token_budget: int
) -> Iterator[list[Example]]:
    """Cut a step into groups that fit the budget; a pair longer than that is a group of its own."""
    group: list[Example] = []
    tokens = prefix_length
    for example in examples:
        if group and tokens + example.length > token_budget:
            yield group
            group, tokens = [], prefix_length
        group.append(example)
        tokens += example.length
    if group:
        yield group


def pack(prefix: Sequence[int], examples: Sequence[Example], dtype: torch.dtype) -> Pack:
    """Lay examples behind one copy of the prefix."""
    shared = len(prefix)
    ids = list(prefix)
    positions = list(range(shared))
    blocks = [0] * shared
    sources: list[int] = []
    targets: list[int] = []
    for block, example in enumerate(examples, 1):
        begin = len(ids)
        ids += [*example.prompt, *example.answer]
        positions += range(shared, shared + example.length)
        blocks += [block] * example.length
        # The token before an answer token predicts it.
        sources += range(begin + len(example.prompt) - 1, begin + example.length - 1)
        targets += example.answer
    block_of = torch.tensor(blocks)
    order = torch.arange(len(ids))
    visible = ((block_of[:, None] == block_of[None, :]) | (block_of[None, :] == 0)) & (
        order[:, None] >= order[None, :]
    )
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    return Pack(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        mask=mask[None, None],
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
    )

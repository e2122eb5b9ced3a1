"""Many short examples in one sequence: each common prefix once, no padding.

Every pair of a document begins with the same system prompt and template. Positions continue from that
prefix in every row, each row sees the prefix and itself (:mod:`lift_core.training.attention`), so the
gradients are those of separate sequences (the unit tests show it), at a fraction of the tokens. A pack may
hold examples of several documents, each for an adapter of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lift_core.training.attention import Row, Rows, lay_out
from lift_core.training.encoding import Example
from lift_core.training.lora import Span

WASTE = 2.0
"""How many times its own tokens a pack's attention may compute: rows are as long as the longest."""


@dataclass(frozen=True)
class Batch:
    """What one adapter learns in one step: examples behind one prefix."""

    adapter: str
    prefix: tuple[int, ...]
    examples: tuple[Example, ...]

    @property
    def answer_tokens(self) -> int:
        """How many tokens are learned."""
        return sum(len(example.answer) for example in self.examples)


@dataclass(frozen=True)
class Pack:
    """One sequence of n tokens.

    ``ids`` and ``positions``: (1, n). ``rows`` says which tokens see which, ``spans`` which tokens go
    through which adapter. ``sources``: (m,) positions whose output predicts an answer token;
    ``targets``: (m,) those tokens; ``answers``: for each batch in the pack its adapter, and which of
    the m are its.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    rows: Rows
    spans: tuple[Span, ...]
    sources: torch.Tensor
    targets: torch.Tensor
    answers: tuple[tuple[str, slice], ...]


def packs(batches: Iterable[Batch], token_budget: int) -> Iterator[list[Batch]]:
    """Cut a step into groups that fit the budget; an example longer than that is a group of its own.

    A batch whose examples are cut apart has its prefix in each of the groups. Examples of like length
    come together: the order within a step changes no gradient.
    """
    group: list[Batch] = []
    taken: list[Example] = []
    tokens = longest = rows = 0
    for batch in batches:
        new = True
        for example in sorted(batch.examples, key=lambda each: each.length):
            added = example.length + (len(batch.prefix) if new else 0)
            reach = max(longest, example.length, len(batch.prefix))
            wasteful = (rows + 1) * reach > WASTE * (tokens + added) + token_budget / 2
            if tokens and (tokens + added > token_budget or wasteful):
                if taken:
                    group.append(Batch(batch.adapter, batch.prefix, tuple(taken)))
                yield group
                group, taken, tokens, longest, rows = [], [], 0, 0, 0
                added = example.length + len(batch.prefix)
                reach = max(example.length, len(batch.prefix))
            taken.append(example)
            tokens, longest, rows, new = tokens + added, reach, rows + 1, False
        if taken:
            group.append(Batch(batch.adapter, batch.prefix, tuple(taken)))
            taken = []
    if group:
        yield group


def pack(batches: Sequence[Batch]) -> Pack:
    """Lay batches one behind another, each behind one copy of its prefix."""
    ids: list[int] = []
    positions: list[int] = []
    rows: list[Row] = []
    spans: list[Span] = []
    sources: list[int] = []
    targets: list[int] = []
    answers: list[tuple[str, slice]] = []
    for batch in batches:
        start, first_answer, shared = len(ids), len(targets), len(batch.prefix)
        ids += batch.prefix
        positions += range(shared)
        prefix = range(start, start + shared)
        if batch.prefix:
            rows.append(Row(seen=range(0), own=prefix))
        for example in batch.examples:
            begin = len(ids)
            ids += [*example.prompt, *example.answer]
            positions += range(shared, shared + example.length)
            rows.append(Row(seen=prefix, own=range(begin, len(ids))))
            # The token before an answer token predicts it; an empty prompt's is the prefix's last.
            before = begin + len(example.prompt) - 1 if example.prompt else prefix[-1]
            sources += [before, *range(begin + len(example.prompt), len(ids) - 1)]
            targets += example.answer
        if spans and spans[-1].adapter == batch.adapter:
            # One product for all of an adapter's tokens.
            start = spans.pop().start
        spans.append(Span(batch.adapter, start, len(ids)))
        answers.append((batch.adapter, slice(first_answer, len(targets))))
    return Pack(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        rows=lay_out(rows),
        spans=tuple(spans),
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        answers=tuple(answers),
    )

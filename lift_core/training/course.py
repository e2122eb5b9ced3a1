"""One document's way through its training: which pairs come next, at which rate, and when it ends.

Epoch 1 takes the pairs in document order as they arrive, starting with the first full step; later epochs
take them from the cache, shuffled by the recipe's seed. A step is a fixed number of examples, cut by content
and never by a timeout: the same seed and pairs give the same adapter, whatever the arrival times, and a
training that was killed finds its place again by counting steps.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift_core.records import QAPair, Recipe
from lift_core.training.encoding import Encoder, Example

LOWEST_RATE = 0.03
"""Share of the learning rate that is left at the end of a cosine."""
MAX_HELD_OUT = 64
"""So many held-out pairs are looked at after each epoch: it must not cost more than it tells."""


@dataclass(frozen=True)
class Document:
    """What is trained: a stream of pairs, how, and where the adapter goes.

    ``name`` is the adapter's while it is trained, and has no dot. ``text`` is needed only where the recipe
    learns the document's own text.
    """

    name: str
    pairs: Iterable[QAPair]
    recipe: Recipe
    title: str
    out_dir: Path
    text: str = ""


@dataclass(frozen=True)
class CourseStep:
    """The examples of one optimizer step; ``number`` counts from 1 over all epochs."""

    epoch: int
    number: int
    prefix: tuple[int, ...]
    examples: tuple[Example, ...]


class Course:
    """The steps of one document's training, and what was seen on the way."""

    def __init__(self, document: Document, tokenizer: Any) -> None:
        self.document = document
        self.recipe = document.recipe.training
        self.encoder = Encoder(tokenizer, self.recipe, document.title)
        self.learned: list[Example] = []
        self.held_out: list[Example] = []
        self.windows = self.encoder.windows(document.text) if self.recipe.raw_text != "none" else []
        self.losses: list[float] = []
        self.held_out_losses: list[float] = []
        self.seconds = 0.0
        self._steps_per_epoch = 0

    def steps(self, done: int = 0) -> Iterator[CourseStep]:
        """The steps after the first ``done``. The stream is read from its beginning all the same: later
        epochs need every pair."""
        numbered = itertools.count(1)
        for epoch in range(1, self.recipe.epochs + 1):
            batches = self._first_epoch() if epoch == 1 else iter(self._shuffled(epoch))
            for prefix, examples in batches:
                number = next(numbered)
                if epoch == 1:
                    self._steps_per_epoch = number
                if number > done:
                    yield CourseStep(epoch, number, prefix, examples)

    def rate(self, step: CourseStep) -> float:
        """The learning rate of a step."""
        highest = self.recipe.learning_rate
        if self.recipe.schedule == "constant" or step.epoch == 1:
            return highest
        falling = self._steps_per_epoch * (self.recipe.epochs - 1)
        share = (step.number - self._steps_per_epoch) / falling
        return highest * (LOWEST_RATE + (1 - LOWEST_RATE) * (1 + math.cos(math.pi * share)) / 2)

    @property
    def pairs(self) -> int:
        """How many pairs were learned from."""
        return len(self.learned)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest loss on the held-out pairs, from 1; 0 before the first."""
        if not self.held_out_losses:
            return 0
        return 1 + self.held_out_losses.index(min(self.held_out_losses))

    @property
    def is_overdue(self) -> bool:
        """Whether the last ``patience`` epochs brought nothing."""
        patience = self.recipe.patience
        return bool(patience) and len(self.held_out_losses) - self.best_epoch >= patience

    def _first_epoch(self) -> Iterator[tuple[tuple[int, ...], tuple[Example, ...]]]:
        # The text is there before the first pair is.
        for batch in _batches(self.windows, self.recipe.pairs_per_step):
            yield (), batch
        for batch in _batches(self._arriving(), self.recipe.pairs_per_step):
            yield self.encoder.prefix, batch

    def _arriving(self) -> Iterator[Example]:
        for pair in self.document.pairs:
            if pair.held_out:
                if len(self.held_out) < MAX_HELD_OUT:
                    self.held_out.append(self.encoder.encode(pair))
            elif self.recipe.raw_text != "only":
                example = self.encoder.encode(pair)
                self.learned.append(example)
                yield example

    def _shuffled(self, epoch: int) -> list[tuple[tuple[int, ...], tuple[Example, ...]]]:
        order = random.Random(f"{self.recipe.seed}/{epoch}")  # noqa: S311 - an order, not a secret
        size = self.recipe.pairs_per_step
        pairs, windows = (order.sample(each, len(each)) for each in (self.learned, self.windows))
        steps = [(self.encoder.prefix, batch) for batch in _batches(pairs, size)]
        steps += [((), batch) for batch in _batches(windows, size)]
        if self.windows:
            order.shuffle(steps)
        return steps


def _batches(examples: Iterable[Example], size: int) -> Iterator[tuple[Example, ...]]:
    """Tuples of ``size`` examples as they come; the last one may be shorter."""
    source = iter(examples)
    return iter(lambda: tuple(itertools.islice(source, size)), ())

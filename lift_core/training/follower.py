"""A process that helps another one train: it makes the calls that rank 0 tells of, until the end.

It needs neither registry nor stream: token ids come with the calls, and the base model from the same folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from lift_core.records import LoraRecipe, TrainingRecipe
from lift_core.training.backbone import Adapters, Backbone
from lift_core.training.packing import Batch
from lift_core.training.parallel import Ranks, from_environment
from lift_core.training.stepper import Stepper


def follow(ranks: Ranks) -> None:
    """Make rank 0's calls until it says that this is the end.

    Raises:
        TransientError: rank 0 has ended without a word, or does not answer.
    """
    # Closed whatever happens: what is left to the end of the interpreter starts threads there, and hangs.
    with ExitStack() as put_on:
        follower = _Follower(ranks, put_on)
        while True:
            name, arguments = ranks.hear()
            if name == "end":
                return
            getattr(follower, name)(*arguments)


class _Follower:
    """Base model, adapters and stepper as rank 0 has them; its methods are what rank 0 can tell."""

    def __init__(self, ranks: Ranks, put_on: ExitStack) -> None:
        self._ranks = ranks
        self._put_on = put_on
        self._backbone: Backbone
        self._adapters: Adapters
        self._stepper: Stepper

    def load(self, folder: Path, precision: str, shard: bool) -> None:
        self._backbone = Backbone(folder, precision, self._ranks, shard=shard)

    def put_on(self, names: Sequence[str], lora: LoraRecipe, seeds: Sequence[int]) -> None:
        self._adapters = self._put_on.enter_context(self._backbone.adapters(names, lora, seeds))

    def take_off(self) -> None:
        self._put_on.close()

    def train(self, recipes: Mapping[str, TrainingRecipe]) -> None:
        self._stepper = Stepper(self._adapters, recipes)

    def step(self, batches: Sequence[Batch], rates: Mapping[str, float] | None) -> None:
        self._stepper.step(batches, rates)

    def mean_loss(self, batch: Batch) -> None:
        self._stepper.mean_loss(batch)

    def load_state(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        self._stepper.load_state(name, state)

    def load_weights(self, name: str, weights: Mapping[str, torch.Tensor]) -> None:
        self._stepper.load_weights(name, weights)

    def compare(self, names: Sequence[str]) -> None:
        self._stepper.compare(names)


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread must not hold when the interpreter ends.
    os.read(0, 1)
    os._exit(1)


def main() -> None:
    """Follow as torchrun's variables say. With arguments, the file where the processes meet and how many
    seconds they wait for each other, this process is rank 0's child: it ends with it."""
    from transformers.utils import logging

    # Whoever tells rank 0 to leave tells its whole process group. It first ends its step and saves, and
    # needs the others for that.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable_progress_bar()
    if len(sys.argv) == 1:
        with from_environment() as ranks:
            follow(ranks)
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with from_environment(Path(sys.argv[1]), float(sys.argv[2])) as ranks:
        follow(ranks)


if __name__ == "__main__":
    main()

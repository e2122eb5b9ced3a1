"""A training's state in one file, so that another process can go on where this one stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from lift_core.training.course import Course
from lift_core.training.stepper import Stepper

COST = 20
"""A checkpoint is due at the earliest after so many times as long as the last one took."""
FILE = "checkpoint.safetensors"


class Checkpoints(Protocol):
    """Where a training's checkpoints are kept."""

    def newest(self) -> Path | None:
        """A local copy of the newest one; None where there is none."""

    def save(self, file: Path, step: int) -> None:
        """Keep this one, taken after so many steps, and no older one."""


class Checkpointing:
    """Takes and restores the checkpoints of one adapter.

    Matrices, optimizer, losses and the best epoch's weights are kept as they are. The order of the pairs
    hangs on the recipe's seed and the epoch alone, and nothing random happens after the matrices were drawn,
    so there is no generator's state to keep.
    """

    def __init__(self, checkpoints: Checkpoints, scratch: Path, every_seconds: float) -> None:
        self._checkpoints = checkpoints
        self._scratch = scratch
        self._every = every_seconds
        self._taken_at = time.monotonic()
        self._took = 0.0

    def restore(self, course: Course, stepper: Stepper) -> dict[str, torch.Tensor]:
        """Put course and stepper where the newest checkpoint saw them; the best epoch's weights, if any."""
        from safetensors import safe_open

        file = self._checkpoints.newest()
        if file is None:
            return {}
        name = course.document.name
        with safe_open(file, framework="pt") as opened:
            seen = json.loads((opened.metadata() or {})["course"])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
        stepper.load_state(name, tensors)
        course.losses = list(seen["losses"])
        course.held_out_losses = list(seen["held_out_losses"])
        course.seconds = seen["seconds"]
        stepper.tokens[name] = seen["tokens"]
        stepper.answer_tokens[name] = seen["answer_tokens"]
        return {key.removeprefix("best/"): value for key, value in tensors.items() if key.startswith("best/")}

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last one; with 0 seconds always."""
        wait = max(self._every, COST * self._took) if self._every else 0
        return time.monotonic() - self._taken_at >= wait

    def take(self, course: Course, stepper: Stepper, best: dict[str, torch.Tensor]) -> None:
        """Save a checkpoint.

        Raises:
            FencedError: another attempt has the training.
        """
        from safetensors.torch import save_file

        began = time.monotonic()
        name = course.document.name
        tensors = {key: value.detach().cpu() for key, value in stepper.state(name).items()}
        tensors |= {f"best/{key}": value.cpu() for key, value in best.items()}
        seen: dict[str, Any] = {
            "losses": course.losses,
            "held_out_losses": course.held_out_losses,
            "seconds": course.seconds,
            "tokens": stepper.tokens[name],
            "answer_tokens": stepper.answer_tokens[name],
        }
        file = self._scratch / FILE
        save_file(tensors, file, metadata={"course": json.dumps(seen)})
        self._checkpoints.save(file, len(course.losses))
        file.unlink(missing_ok=True)
        self._taken_at = time.monotonic()
        self._took = self._taken_at - began

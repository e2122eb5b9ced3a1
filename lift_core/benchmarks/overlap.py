"""Benchmark ``overlap``: training while the pairs are still being written, against one after the other.

Both ways go over the same document with the same recipe, in this process, as ``lift run`` does it: the pairs
of every run are written anew by the generator's server, and go through the registry and the object store. The
clock runs from the first request to the generator to the adapter's last step. The base model was loaded
before, once for all runs.

With G the time of generation alone and e that of one epoch alone, E epochs one after the other take G + E e.
Where the generator and the trainer do not hinder each other, only the first epoch can hide behind the
generation: max(G, e) + (E - 1) e is the bound. On cores that both share it cannot be reached by overlapping
work, only by filling the time in which one of them alone leaves cores idle. On cores of their own
(``apart``: the stack and the benchmark are each started under ``taskset``) the two are to each other as on a
GPU each.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift_core import stack
from lift_core.base_models import base_model_folder
from lift_core.benchmarks.report import Report
from lift_core.benchmarks.scratch import Scratch, scratch
from lift_core.errors import LiftError
from lift_core.processor import usable_cores
from lift_core.records import Claim, Recipe
from lift_core.settings import Settings
from lift_core.steps import Steps
from lift_core.store import layout
from lift_core.stream import ShardReader
from lift_core.train_step import READER_WAKE_SECONDS
from lift_core.training import Backbone, TrainingProgress, train

ROUNDS = 3
PAPER_RATIO = 0.70
"""With the pipeline to without it, at 8K tokens, 1 epoch and 1 pair a sentence (9.5 s to 13.6 s)."""
_HOLDER = "benchmark"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Arm:
    """One way of going over the document."""

    epochs: int
    overlapped: bool

    def __str__(self) -> str:
        epochs = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        return f"{epochs}, generate || train" if self.overlapped else f"{epochs}, generate, then train"


@dataclass(frozen=True)
class Times:
    """Seconds from the first request to the generator, and how many pairs were learned."""

    generated: float
    """Until the stream was complete."""
    trained: float
    """Until the last step was made."""
    pairs: int


def run(
    settings: Settings,
    file: Path,
    recipe: Recipe,
    *,
    quick: bool,
    rounds: int = ROUNDS,
    apart: bool = False,
    on_progress: Progress,
) -> Report:
    """Measure on one document; PostgreSQL, the object store and the generator's server must be up.

    With 1 epoch and with the recipe's, each arm ``rounds`` times; ``quick``: 1 epoch, once. ``apart`` says
    that the generator must have other cores than this process. ``on_progress`` gets what is under way, how
    many runs are done, and how many there are.

    Raises:
        LiftError: a service is away, the document could not be learned, or the cores are not ``apart``.
    """
    import torch

    own, theirs = usable_cores(), generators_cores(settings)
    if apart:
        check_apart(own, theirs)
    rounds = 1 if quick else rounds
    epochs = (1,) if quick else tuple(dict.fromkeys((1, recipe.training.epochs)))
    arms = order_of(rounds, epochs)
    data = file.read_bytes()
    began = time.monotonic()
    backbone = Backbone(base_model_folder(recipe, settings), recipe.training.precision)
    loading = time.monotonic() - began
    found: dict[Arm, list[Times]] = defaultdict(list)
    with scratch(settings) as made:
        # A first run that does not count: kernels are chosen and memory is touched for the first time.
        for number, arm in enumerate([Arm(1, True), *arms]):
            on_progress(str(arm) if number else "warming up", number, len(arms) + 1)
            times = _measure(made, number, arm, file.suffix, data, recipe, backbone)
            if number:
                found[arm].append(times)
    return Report(
        name="overlap-apart" if apart else "overlap",
        command="overlap --apart" if apart else "overlap",
        settings={
            "document": file.name,
            "base model": recipe.base_model,
            "generator": recipe.generator.model,
            "rounds": rounds,
            "trainer's cores": _listed(own),
            "generator's cores": "not known" if theirs is None else _listed(theirs),
            "trainer's threads": torch.get_num_threads(),
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "default"),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
            "paper's ours/peer at 8K": PAPER_RATIO,
        },
        rows=[*rows_of(found), _alone("loading the base model, before the clock", [loading])],
    )


def order_of(rounds: int, epochs: Sequence[int]) -> list[Arm]:
    """The arms of all rounds, side by side; which of the two comes first changes with every round."""
    return [
        Arm(count, overlapped)
        for number in range(rounds)
        for count in epochs
        for overlapped in ((False, True) if number % 2 == 0 else (True, False))
    ]


def generators_cores(settings: Settings) -> list[int] | None:
    """Numbers of the cores that the embedded stack's generator may use; None where another one is asked."""
    service = stack.status(settings.home).service("vllm-generator")
    if service is None or service.pid is None or service.url != settings.generator_url:
        return None
    return sorted(os.sched_getaffinity(service.pid)) if sys.platform == "linux" else None


def check_apart(own: Sequence[int], theirs: Sequence[int] | None) -> None:
    """Make sure that trainer and generator share no core.

    Raises:
        LiftError: they do, or nobody knows.
    """
    if theirs is None:
        raise LiftError(
            "the cores of the generator are not known, as it is not the embedded stack's, or that is not "
            "up: start it with `taskset -c 0 lift up --without-airflow`"
        )
    if shared := sorted(set(own) & set(theirs)):
        raise LiftError(
            f"generator and trainer share cores ({_listed(shared)}): stop the stack, start it on some with "
            "`taskset -c 0 lift up --without-airflow`, and this on others with "
            "`taskset -c 1 lift bench overlap --apart`"
        )


def _listed(cores: Sequence[int]) -> str:
    return " ".join(map(str, cores))


def bound(generation: float, epoch: float, epochs: int) -> float:
    """The least time of both, in the unit of ``generation`` and ``epoch``, if neither hinders the other."""
    return max(generation, epoch) + (epochs - 1) * epoch


def generate_and_train(
    steps: Steps,
    claim: Claim,
    *,
    backbone: Backbone,
    folder: Path,
    overlapped: bool,
    on_step: Callable[[TrainingProgress], None] = lambda _: None,
) -> Times:
    """Write the pairs of a claimed and split document and train its adapter into ``folder``.

    Side by side as the pipeline does it, or the one after the other.

    Raises:
        LiftError: what went wrong on either side; the generator's cause where it was the first.
    """
    stored = steps.store.get_bytes(steps.settings.work_bucket, layout.text_key(claim.job_id))
    text = json.loads(stored)["text"]
    writer_gone = threading.Event()
    reader = ShardReader(
        steps.registry,
        steps.store,
        claim.job_id,
        steps.settings.work_bucket,
        idle_seconds=steps.settings.stream_idle_seconds,
        poll_seconds=READER_WAKE_SECONDS,
        writer_gone=writer_gone,
    )
    last_step = 0.0

    def stepped(progress: TrainingProgress) -> None:
        nonlocal last_step
        last_step = time.monotonic()
        on_step(progress)

    def generate() -> float:
        steps.generate(claim, _HOLDER)
        return time.monotonic()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate") as pool:
        began = time.monotonic()
        generating = pool.submit(generate)
        generating.add_done_callback(lambda done: writer_gone.set() if done.exception() else None)
        if not overlapped:
            generating.result()
        try:
            result = train(
                reader,
                recipe=claim.recipe,
                title=claim.title,
                base_path=backbone.folder,
                out_dir=folder,
                text=text,
                on_progress=stepped,
                backbone=backbone,
            )
        except LiftError:
            if generating.done() and (cause := generating.exception()) is not None:
                raise cause from None
            raise
        generated = generating.result()
    return Times(generated - began, last_step - began, result.pairs)


def _measure(
    made: Scratch, number: int, arm: Arm, suffix: str, data: bytes, recipe: Recipe, backbone: Backbone
) -> Times:
    # No early end: every arm makes its epochs.
    training = recipe.training.model_copy(update={"epochs": arm.epochs, "patience": 0})
    claim, _ = made.begin(f"{number}{suffix}", data, recipe.model_copy(update={"training": training}))
    # Prompts begin with the title: under another one, what the server's prefix cache holds of an earlier
    # run is of no use.
    claim = claim.model_copy(update={"title": f"{claim.title}, {number}"})
    with tempfile.TemporaryDirectory(prefix="lift-bench-") as folder:
        return generate_and_train(
            made.steps, claim, backbone=backbone, folder=Path(folder), overlapped=arm.overlapped
        )


# --- figures ----------------------------------------------------------------------------------


def rows_of(found: Mapping[Arm, Sequence[Times]]) -> list[dict[str, Any]]:
    """The report's rows, of medians: for each number of epochs both ways, the bound, and the parts.

    ``ours/peer`` is the overlapped time as a share of the sequential one: smaller is better.
    """
    rows: list[dict[str, Any]] = []
    for epochs in dict.fromkeys(arm.epochs for arm in found):
        ours, peer = found[Arm(epochs, True)], found[Arm(epochs, False)]
        whole, sequential = [each.trained for each in ours], [each.trained for each in peer]
        generation = [each.generated for each in peer]
        epoch = [(each.trained - each.generated) / epochs for each in peer]
        least = bound(statistics.median(generation), statistics.median(epoch), epochs)
        words = f"{epochs} epoch{'s' * (epochs > 1)}"
        rows += [
            {
                **_beside(f"generate || train, {words}; peer: generate, then train", whole, sequential),
                "bound": round(least, 2),
                "bound/peer": round(least / statistics.median(sequential), 3),
                "above bound, %": round(100 * (statistics.median(whole) / least - 1), 1),
                "pairs": round(statistics.median(each.pairs for each in ours)),
                "peer pairs": round(statistics.median(each.pairs for each in peer)),
            },
            _beside(
                f"generation, {words}: beside the training; peer: alone",
                [each.generated for each in ours],
                generation,
            ),
            _alone(f"one epoch of {epochs}, alone" if epochs > 1 else "the one epoch, alone", epoch),
        ]
    return rows


def _beside(name: str, ours: Sequence[float], peer: Sequence[float]) -> dict[str, Any]:
    return {
        **_alone(name, ours),
        "peer": round(statistics.median(peer), 2),
        "peer min": round(min(peer), 2),
        "peer max": round(max(peer), 2),
        "ours/peer": round(statistics.median(ours) / statistics.median(peer), 3),
    }


def _alone(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "name": name,
        "unit": "s",
        "n": len(seconds),
        "ours": round(statistics.median(seconds), 2),
        "min": round(min(seconds), 2),
        "max": round(max(seconds), 2),
    }

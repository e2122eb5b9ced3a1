"""Benchmark ``training``: our trainer beside a plain loop as the paper's code has it, and beside TRL.

The same model, pairs, tokens, LoRA shape, precision, optimizer, rate, threads and pairs an optimizer step,
each arm in a process of its own, in turn, in one call. First a grid of TRL's settings on a few pairs, then
the fastest of them whose pairs do not see each other; then what the adapters know, over several seeds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lift_core.base_models import base_model_folder
from lift_core.benchmarks.report import Report
from lift_core.benchmarks.training_data import (
    GRID,
    OURS,
    PAPER_LOOP,
    Arm,
    Job,
    Lesson,
    Outcome,
    read_lesson,
    read_pairs,
)
from lift_core.errors import LiftError
from lift_core.processor import usable_cores
from lift_core.records import Recipe, TrainingRecipe
from lift_core.settings import Settings

OnProgress = Callable[[str, int, int], None]

_TITLE = "SQuAD"
"""One for all pairs: they are of several articles, and a document's pairs share a prompt."""
_PRINTED = 1000
"""Characters of what a process printed that its error repeats."""
_SAME_LOSS = 0.02
"""As a share. In bf16 another batch shape rounds otherwise; pairs that see each other differ by more."""


@dataclass(frozen=True)
class Size:
    """How much is measured: pairs of the timed runs, in how many parts; the grid; the lessons."""

    pairs: int
    parts: int
    grid: tuple[Arm, ...]
    grid_pairs: int
    lesson_pairs: int
    epochs: int
    seeds: int


FULL = Size(pairs=2000, parts=2, grid=GRID, grid_pairs=128, lesson_pairs=64, epochs=4, seeds=3)
QUICK = Size(
    pairs=64,
    parts=1,
    grid=tuple(arm for arm in GRID if arm.name in ("trl-padding-free-8x1", "trl-packed-8x1-flash")),
    grid_pairs=32,
    lesson_pairs=16,
    epochs=1,
    seeds=1,
)


def run(settings: Settings, data: Path, *, size: Size, on_progress: OnProgress) -> Report:
    """Train on the question set in the folder ``data``; no service is needed.

    ``on_progress`` gets the phase, how much of it is done, and how much there is.

    Raises:
        LiftError: the set is missing or too small, an arm failed, or no setting of TRL runs here.
        RecipeError: the hub does not give the base model.
        ServiceUnavailableError: the base model is not here, and the hub cannot be asked.
    """
    recipe = Recipe(training=TrainingRecipe(epochs=1))
    base_path = base_model_folder(recipe, settings)
    pairs = tuple(read_pairs(data, size.pairs))
    lesson = read_lesson(data, size.lesson_pairs)

    def speed_job(arm: Arm, first: int, last: int) -> Job:
        return Job(arm=arm, recipe=recipe, title=_TITLE, base_path=base_path, pairs=pairs[first:last])

    tried: dict[str, Outcome] = {}
    for arm in size.grid:
        tried[arm.name] = in_child(speed_job(arm, 0, size.grid_pairs), f"grid, {arm.name}", on_progress)
    best = best_of(size.grid, tried)

    arms = (OURS, PAPER_LOOP, best)
    timed: dict[str, list[Outcome]] = {arm.name: [] for arm in arms}
    share = size.pairs // size.parts
    for part in range(size.parts):
        # To and fro: a machine that slows down or speeds up meanwhile does it to all of them.
        for arm in arms if part % 2 == 0 else arms[::-1]:
            phase = f"{arm.name}, part {part + 1} of {size.parts}"
            job = speed_job(arm, part * share, (part + 1) * share)
            timed[arm.name].append(_not_refused(in_child(job, phase, on_progress), arm))

    taught: dict[str, list[Outcome]] = {arm.name: [] for arm in arms}
    for seed in range(size.seeds):
        for arm in arms:
            job = lesson_job(arm, lesson, recipe, base_path, size.epochs, seed)
            phase = f"lesson, {arm.name}, seed {seed}"
            taught[arm.name].append(_not_refused(in_child(job, phase, on_progress), arm))

    return Report(
        name="training",
        settings=_settings(recipe, size, best, timed[OURS.name][0].device),
        rows=[
            *speed_rows(timed),
            *memory_rows(timed),
            *knowledge_rows(taught),
            *grid_rows(size.grid, tried),
        ],
    )


def lesson_job(arm: Arm, lesson: Lesson, recipe: Recipe, base_path: Path, epochs: int, seed: int) -> Job:
    """Teach a few paragraphs and ask; ours shuffles from the second epoch on, so the peers shuffle too."""
    training = recipe.training.model_copy(update={"epochs": epochs, "seed": seed})
    shuffled = arm.model_copy(update={"order": "random"}) if arm.order == "sequential" else arm
    return Job(
        arm=shuffled,
        recipe=recipe.model_copy(update={"training": training}),
        title=lesson.title,
        base_path=base_path,
        pairs=lesson.pairs,
        warm_up=1,
        learned=lesson.learned,
        other=lesson.other,
        ask_base=arm.trainer == "lift" and seed == 0,
    )


def in_child(job: Job, phase: str, on_progress: OnProgress) -> Outcome:
    """Perform a job in a process of its own, whose memory is its own.

    Raises:
        LiftError: the process died or failed; the message has the end of what it printed.
    """
    total = job.recipe.training.epochs * len(job.pairs)
    on_progress(phase, 0, total)
    outcome = None
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as asked:
        asked.write(job.model_dump_json())
        asked.seek(0)
        with subprocess.Popen(
            [sys.executable, "-m", "lift_core.benchmarks.training_peers"],
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            env=_environment(),
        ) as child:
            for line in child.stdout or ():
                said = json.loads(line)
                if "outcome" in said:
                    outcome = Outcome.model_validate(said["outcome"])
                else:
                    on_progress(phase, min(said["done"], total), total)
        if child.returncode or outcome is None:
            printed.seek(0)
            raise LiftError(
                f"the arm '{job.arm.name}' ended with exit code {child.returncode}: "
                f"{printed.read()[-_PRINTED:].strip()}"
            )
    return outcome


def _not_refused(outcome: Outcome, arm: Arm) -> Outcome:
    if outcome.refused is not None:
        raise LiftError(f"{arm.name} ran in the grid, and now it does not: {outcome.refused}")
    return outcome


def threads() -> int:
    """Threads that every arm computes with: OMP_NUM_THREADS, or the cores that this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(usable_cores()))


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads()),
        # Threads that spin while they wait take the cores from whatever else runs here.
        "OMP_WAIT_POLICY": "passive",
        # One GPU for all arms: transformers would spread a batch over several.
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        # All is here; without this TRL sends a line about every run.
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def best_of(grid: Sequence[Arm], tried: Mapping[str, Outcome]) -> Arm:
    """The fastest setting among those that train on each pair by itself.

    Raises:
        LiftError: there is none.
    """
    usable = [arm for arm in grid if _remark(tried[arm.name]) is None]
    if not usable:
        reasons = "; ".join(f"{arm.name}: {_remark(tried[arm.name])}" for arm in grid)
        raise LiftError(f"no setting of TRL can be compared with on this machine ({reasons})")
    return max(usable, key=lambda arm: _rate([tried[arm.name]]))


def _remark(outcome: Outcome) -> str | None:
    """Why a setting is not compared with; None if it is."""
    if outcome.refused is not None:
        return f"refused: {outcome.refused[:200]}"
    if outcome.first_loss is None or outcome.alone_loss is None:
        return None
    if abs(outcome.first_loss - outcome.alone_loss) > _SAME_LOSS * outcome.alone_loss:
        return "its pairs see each other: not compared with"
    return None


# --- rows -------------------------------------------------------------------------------------


def speed_rows(timed: Mapping[str, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Pairs a second of each peer beside ours, over all parts."""
    ours = timed[OURS.name]
    return [
        {
            "name": name,
            "unit": "pairs/s",
            "n": sum(each.pairs for each in peers),
            "ours": round(_rate(ours), 3),
            "peer": round(_rate(peers), 3),
            "ratio": round(_rate(ours) / _rate(peers), 2),
            **_losses(peers[0], ours[0]),
        }
        for name, peers in _peers(timed)
    ]


def memory_rows(timed: Mapping[str, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Peak memory of the process, and on a GPU of the device, over all parts."""
    rows = []
    for name, peers in _peers(timed):
        kinds = {"peak memory of the process": (_peak(timed[OURS.name]), _peak(peers))}
        if timed[OURS.name][0].device_peak is not None:
            kinds["peak memory of the GPU"] = (_device_peak(timed[OURS.name]), _device_peak(peers))
        for kind, (ours, peer) in kinds.items():
            rows.append(
                {
                    "name": f"{name}: {kind}",
                    "unit": "GiB",
                    "n": len(peers),
                    "ours": round(ours, 2),
                    "peer": round(peer, 2),
                    "ratio": round(peer / ours, 2),
                }
            )
    return rows


def knowledge_rows(taught: Mapping[str, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Closed-book F1 after the same lesson, mean and range over the seeds."""
    rows = []
    for kind, words in (("learned", "learned questions"), ("other", "other questions of the paragraphs")):
        ours = [each.f1[kind] for each in taught[OURS.name]]
        for name, peers in _peers(taught):
            theirs = [each.f1[kind] for each in peers]
            rows.append(
                {
                    "name": f"{name}: F1 of {words}",
                    "unit": "F1",
                    "n": len(theirs),
                    "ours": round(statistics.mean(ours), 3),
                    "peer": round(statistics.mean(theirs), 3),
                    "ours, range": _range(ours),
                    "peer, range": _range(theirs),
                    "base model": round(taught[OURS.name][0].f1[f"{kind}, base"], 3),
                }
            )
    return rows


def grid_rows(grid: Sequence[Arm], tried: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """Each of TRL's settings: its figures, or why it has none."""
    rows: list[dict[str, Any]] = []
    for arm in grid:
        outcome = tried[arm.name]
        row: dict[str, Any] = {"name": f"grid: {arm.name}", "unit": "pairs/s"}
        if outcome.refused is None:
            row |= {
                "n": outcome.pairs,
                "peer": round(_rate([outcome]), 3),
                **_losses(outcome),
                "peak GiB": round(outcome.peak, 2),
            }
        rows.append({**row, "remark": _remark(outcome)})
    return rows


def _peers(outcomes: Mapping[str, Sequence[Outcome]]) -> list[tuple[str, Sequence[Outcome]]]:
    return [(name, some) for name, some in outcomes.items() if name != OURS.name]


def _rate(outcomes: Sequence[Outcome]) -> float:
    return sum(each.pairs for each in outcomes) / sum(each.seconds for each in outcomes)


def _peak(outcomes: Sequence[Outcome]) -> float:
    return max(each.peak for each in outcomes)


def _device_peak(outcomes: Sequence[Outcome]) -> float:
    return max(each.device_peak or 0.0 for each in outcomes)


def _losses(peer: Outcome, ours: Outcome | None = None) -> dict[str, Any]:
    found = {"first loss": peer.first_loss, "its pairs alone": peer.alone_loss}
    if ours is not None:
        found = {"first loss, ours": ours.first_loss, **found}
    return {name: None if loss is None else round(loss, 3) for name, loss in found.items()}


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def _settings(recipe: Recipe, size: Size, best: Arm, device: str) -> dict[str, Any]:
    lora, training = recipe.lora, recipe.training
    return {
        "base model": recipe.base_model,
        "device": device,
        "pairs": f"{size.pairs} of SQuAD dev in document order, under the one title '{_TITLE}'",
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha}, {len(lora.targets)} linear layers",
        "precision": f"{training.precision} base, fp32 LoRA",
        "optimizer": f"AdamW, constant {training.learning_rate:g}, no clipping",
        "pairs an optimizer step": f"{training.pairs_per_step}, of TRL's packs on average",
        "length of TRL's packs": "the shortest that holds them",
        "threads": f"{threads()}, OMP_WAIT_POLICY passive",
        "best of TRL": best.name,
        "lesson": f"{size.lesson_pairs} pairs, {size.epochs} epochs",
        **{name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }

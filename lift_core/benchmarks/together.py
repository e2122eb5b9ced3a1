"""Benchmark ``together``: small documents trained in the same passes, beside one after the other.

Both arms run in this process on one base model that is loaded before the clock starts, in turn, with the same
pairs, recipes and threads. The adapters are compared too: in bf16 a pass of another shape rounds otherwise,
and training makes small differences larger, so they are put beside those that one seed more makes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lift_core.base_models import base_model_folder
from lift_core.benchmarks.report import Report
from lift_core.benchmarks.training_data import read_documents
from lift_core.errors import LiftError
from lift_core.recipes import load_recipe
from lift_core.records import QAPair, Recipe, TrainingResult
from lift_core.settings import Settings

DOCUMENTS = 8
PAIRS = 24
ROUNDS = 3
EPOCHS = 2
"""Of the adapters that are compared. The clock runs over one epoch: the others are like it."""
FP32_PAIRS = 8
"""In fp32 only the adapters are compared, and fewer pairs show it."""

OnProgress = Callable[[str, int, int], None]
Documents = Sequence[tuple[str, list[QAPair]]]


def run(settings: Settings, data: Path, *, quick: bool, on_progress: OnProgress) -> Report:
    """Train on articles of the question set in the folder ``data``; no service is needed.

    Raises:
        LiftError: the set is missing or too small, or a training failed.
    """
    documents = read_documents(data, DOCUMENTS, PAIRS)
    recipe = _with(load_recipe("embedded"), epochs=1 if quick else EPOCHS)
    folder = base_model_folder(recipe, settings)
    rows = [
        _speed(f"recipe embedded ({_shape(recipe)})", recipe, folder, documents, quick, on_progress),
        _speed(
            "all linear layers, rank 128",
            Recipe(training=recipe.training),
            folder,
            documents,
            quick,
            on_progress,
        ),
        _adapters("bf16", recipe, folder, documents, on_progress),
        _adapters(
            "fp32",
            _with(recipe, precision="fp32"),
            folder,
            [(title, pairs[:FP32_PAIRS]) for title, pairs in documents],
            on_progress,
        ),
    ]
    return Report(
        name="together",
        settings={
            "base model": recipe.base_model,
            "documents": DOCUMENTS,
            "pairs each": PAIRS,
            "epochs of the compared adapters": recipe.training.epochs,
            "pairs a step and document": recipe.training.pairs_per_step,
        },
        rows=rows,
    )


def _with(recipe: Recipe, **training: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=training)})


def _shape(recipe: Recipe) -> str:
    return f"rank {recipe.lora.rank}, {', '.join(recipe.lora.targets)}"


def _speed(
    name: str, recipe: Recipe, folder: Path, documents: Documents, quick: bool, on_progress: OnProgress
) -> dict[str, Any]:
    from lift_core.training import Backbone

    recipe = _with(recipe, epochs=1)
    backbone = Backbone(folder, recipe.training.precision)
    rounds = 1 if quick else ROUNDS
    seconds: dict[str, list[float]] = {"together": [], "one by one": []}
    with tempfile.TemporaryDirectory(prefix="lift-bench-") as scratch:
        # The first steps of a process are slower: they are no part of either arm.
        _train(backbone, recipe, documents[:1], Path(scratch) / "warm")
        for number in range(rounds):
            for arm in ("one by one", "together") if number % 2 == 0 else ("together", "one by one"):
                on_progress(f"{name}, {arm}", number, rounds)
                began = time.monotonic()
                place = Path(scratch) / f"{arm}-{number}"
                if arm == "together":
                    _train(backbone, recipe, documents, place)
                else:
                    for document in documents:
                        _train(backbone, recipe, [document], place)
                seconds[arm].append(time.monotonic() - began)
    together, alone = (statistics.median(seconds[arm]) for arm in ("together", "one by one"))
    return {
        "name": f"{len(documents)} documents together; peer: one by one in a warm process; {name}",
        "unit": "s",
        "n": rounds,
        "ours": round(together, 2),
        "peer": round(alone, 2),
        "ratio": round(alone / together, 2),
    }


def _adapters(
    precision: str, recipe: Recipe, folder: Path, documents: Documents, on_progress: OnProgress
) -> dict[str, Any]:
    """How far the adapters of both ways lie apart, as a share of what was learned."""
    from lift_core.training import Backbone

    on_progress(f"adapters compared, {precision}", 0, 0)
    backbone = Backbone(folder, precision)
    with tempfile.TemporaryDirectory(prefix="lift-bench-") as scratch:
        together = _train(backbone, recipe, documents, Path(scratch) / "together")
        apart, losses, seeds = [], [], []
        for document in documents[:2]:
            title = document[0]
            alone = _train(backbone, recipe, [document], Path(scratch) / "alone")
            _train(backbone, _with(recipe, seed=recipe.training.seed + 1), [document], Path(scratch) / "seed")
            place = [Path(scratch) / arm / title for arm in ("together", "alone", "seed")]
            apart.append(_distance(place[0], place[1]))
            seeds.append(_distance(place[2], place[1]))
            losses.append(abs(together[title].final_loss - alone[title].final_loss))
    return {
        "name": f"adapters of both ways compared, {precision}",
        "unit": "share",
        "n": len(apart),
        "distance, largest": float(f"{max(apart):.2g}"),
        "distance of another seed, smallest": float(f"{min(seeds):.2g}"),
        "final loss apart, nats, largest": float(f"{max(losses):.2g}"),
    }


def _train(backbone: Any, recipe: Recipe, documents: Documents, place: Path) -> dict[str, TrainingResult]:
    from lift_core.training import Document, train_together

    outcomes = train_together(
        [Document(title, pairs, recipe, title, place / title) for title, pairs in documents], backbone
    )
    found = {}
    for title, outcome in outcomes.items():
        if isinstance(outcome, LiftError):
            raise outcome
        found[title] = outcome
    return found


def _distance(one: Path, other: Path) -> float:
    """Of what two adapters add to the weights, B·A of all layers: the norm of the difference by the norm."""
    from safetensors.torch import load_file

    first, second = (load_file(place / "adapter_model.safetensors") for place in (one, other))
    difference = total = 0.0
    for name in first:
        if ".lora_A." not in name:
            continue
        partner = name.replace(".lora_A.", ".lora_B.")
        mine, theirs = (each[partner].float() @ each[name].float() for each in (first, second))
        difference += float((mine - theirs).square().sum())
        total += float(theirs.square().sum())
    return float((difference / total) ** 0.5)

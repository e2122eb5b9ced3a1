"""Teach the embedded base model to write question-answer pairs and to read: how its generator was made.

``python -m lift_core.stack.teaching DATA OUT`` reads public question-answering sets from the folder DATA,
makes lessons of every sentence that holds answers (:mod:`lift_core.stack.lessons`), trains a LoRA with LIFT's
trainer, and writes it to OUT.

Each set is JSON Lines, one document a line: ``doc_id``, ``title``, ``text`` (or ``context``), and ``qas``
with ``question``, ``answers`` and, where it is known, the number of the answer's ``paragraph``; or ``.json``
in the format of SQuAD.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lift_core.log import configure
from lift_core.records import LoraRecipe, Recipe, TrainingRecipe, TrainingResult
from lift_core.settings import lift_home
from lift_core.stack.lessons import read_lessons
from lift_core.stack.models import BASE_NAME
from lift_core.synthesis.prompts import NOT_STATED

if TYPE_CHECKING:
    from lift_core.training.packing import Batch
    from lift_core.training.parallel import Ranks

MEASURED_LESSONS = 60
MAX_TOKENS = 400
WARM_UP_STEPS = 8
ADAPTER = "default"

RECIPE = Recipe(
    base_model=BASE_NAME,
    lora=LoraRecipe(rank=16, alpha=32),
    training=TrainingRecipe(
        epochs=4, learning_rate=4e-4, pairs_per_step=16, token_budget=1024, system_prompt=""
    ),
)
"""``pairs_per_step`` counts sentences here, each with all its lessons."""


def batch_of(examples: Sequence[tuple[str, str]], tokenizer: Any) -> Batch:
    """A sentence's (prompt, completion) examples as token ids, behind what their prompts have in common."""
    from lift_core.training.encoding import Example
    from lift_core.training.packing import Batch

    encoded = [
        (
            tokenizer.encode(prompt, add_special_tokens=False),
            (*tokenizer.encode(completion, add_special_tokens=False), tokenizer.eos_token_id),
        )
        for prompt, completion in examples
    ]
    prompts = zip(*(prompt for prompt, _ in encoded), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda tokens: len(set(tokens)) == 1, prompts))
    # What a pack begins with belongs to no example: each keeps a token of its own.
    shared = min(shared, min(len(prompt) for prompt, _ in encoded) - 1)
    prefix = tuple(encoded[0][0][:shared])
    return Batch(
        ADAPTER, prefix, tuple(Example(tuple(prompt[shared:]), answer) for prompt, answer in encoded)
    )


def teach(
    data: Path, base: Path, out: Path, minutes: float, start: Path | None = None, processes: int = 1
) -> None:
    """Train the generator's adapter on the sets in ``data`` and write it to ``out``.

    ``start`` is the folder of an adapter of the same shape, whose teaching goes on. ``processes`` share each
    step's sentences: on a CPU two with a thread each compute more than one with two.

    The learning rate falls to nearly nothing by the end of the last epoch or of ``minutes``,
    whichever comes first.
    """
    from lift_core.training.parallel import team

    with team(processes) as ranks:
        _teach(data, base, out, minutes, start, ranks)


def _teach(data: Path, base: Path, out: Path, minutes: float, start: Path | None, ranks: Ranks) -> None:
    from lift_core.training.adapter_files import save_adapter
    from lift_core.training.backbone import Backbone
    from lift_core.training.stepper import Stepper

    log = structlog.get_logger("lift.teaching")
    taught, measured = read_lessons(data)
    training = RECIPE.training
    order = random.Random(training.seed)  # noqa: S311 - an order, not a secret
    backbone = Backbone(base, training.precision, ranks=ranks)

    sample = [
        {
            "choosing": lesson.choosing(order),
            "asking": lesson.asking(),
            "reading": [each for each in lesson.reading() if NOT_STATED not in each[1]],
            "refusing": [each for each in lesson.reading() if NOT_STATED in each[1]],
        }
        for lesson in order.sample(measured, min(MEASURED_LESSONS, len(measured)))
    ]
    size = training.pairs_per_step
    steps = training.epochs * (len(taught) // size)
    losses: list[float] = []
    with backbone.adapters([ADAPTER], RECIPE.lora, [training.seed]) as adapters:
        stepper = Stepper(adapters, {ADAPTER: training})
        if start is not None:
            stepper.load_weights(ADAPTER, _read_weights(start))

        def measure(when: str) -> None:
            losses = {
                kind: _mean(
                    stepper, [batch_of(each[kind], backbone.tokenizer) for each in sample if each[kind]]
                )
                for kind in sample[0]
            }
            log.info(when, **losses)

        log.info("lessons", sentences=len(taught), pairs=sum(len(lesson.pairs) for lesson in taught))
        measure("before")
        started = time.monotonic()
        for begin in _batches_of(len(taught), size, training.epochs):
            if begin == 0:
                order.shuffle(taught)
            done = max(len(losses) / steps, (time.monotonic() - started) / (60 * minutes))
            if done >= 1:
                break
            batches = [
                batch_of([*lesson.choosing(order), *lesson.asking(), *lesson.reading()], backbone.tokenizer)
                for lesson in taught[begin : begin + size]
            ]
            warm_up = min(1.0, (len(losses) + 1) / WARM_UP_STEPS)
            falling = 0.03 + 0.97 * (1 + math.cos(math.pi * done)) / 2
            rate = training.learning_rate * warm_up * falling
            losses.append(stepper.step([each for each in batches if _fits(each)], {ADAPTER: rate})[ADAPTER])
            if len(losses) % 10 == 0:
                recent = sum(losses[-50:]) / len(losses[-50:])
                log.info("teaching", step=f"{len(losses)}/{steps}", done=f"{done:.0%}", loss=round(recent, 3))
        measure("after")
        result = TrainingResult(
            steps=len(losses),
            pairs=sum(len(lesson.pairs) for lesson in taught),
            tokens=stepper.tokens[ADAPTER],
            seconds=time.monotonic() - started,
            first_loss=losses[0],
            final_loss=sum(losses[-50:]) / len(losses[-50:]),
            losses=tuple(losses),
        )
        save_adapter(adapters.model, RECIPE, result, out, ADAPTER)


def _read_weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def _fits(batch: Batch) -> bool:
    return len(batch.prefix) + max(example.length for example in batch.examples) <= MAX_TOKENS


def _mean(stepper: Any, batches: Sequence[Batch]) -> float:
    """Mean loss in nats over the answer tokens of all batches."""
    total = sum(stepper.mean_loss(each) * each.answer_tokens for each in batches)
    return round(float(total / sum(each.answer_tokens for each in batches)), 3)


def _batches_of(count: int, size: int, epochs: int) -> Iterator[int]:
    """Where each full batch begins, epoch after epoch."""
    for _ in range(epochs):
        yield from range(0, count - size + 1, size)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the public sets")
    parser.add_argument("out", type=Path, help="folder for the adapter")
    parser.add_argument("--base", type=Path, help="folder of the base model (default: the embedded one)")
    parser.add_argument("--start", type=Path, help="folder of an adapter whose teaching goes on")
    parser.add_argument("--minutes", type=float, default=60, help="stop after so long (default: 60)")
    parser.add_argument("--processes", type=int, default=1, help="so many, with a share of the cores each")
    options = parser.parse_args()
    configure()
    base = options.base or lift_home() / "models" / BASE_NAME
    teach(options.data, base, options.out, options.minutes, options.start, options.processes)


if __name__ == "__main__":
    main()

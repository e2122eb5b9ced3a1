"""Teach the embedded base model to write question-answer pairs: how its generator adapter was made.

``python -m lift_core.stack.teaching DATA OUT`` reads public question-answering sets from the folder
DATA, makes one example of every sentence that holds answers (the generator's own prompt → all pairs
whose answer lies in the sentence), trains a LoRA with LIFT's trainer, and writes it to OUT.

Each set is JSON Lines, one document a line: ``doc_id``, ``title``, ``text`` (or ``context``), and ``qas``
with ``question``, ``answers`` and, where it is known, the number of the answer's ``paragraph``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from lift_core.documents import split
from lift_core.log import configure
from lift_core.records import LoraRecipe, Recipe, SegmentationRecipe, TrainingRecipe, TrainingResult
from lift_core.settings import lift_home
from lift_core.stack.models import BASE_NAME
from lift_core.synthesis.prompts import context_before, lines_prompt

SETS = ("squad_dev", "fairytaleqa", "covidqa")
"""CC BY-SA 4.0, Apache-2.0, Apache-2.0 (its articles CC BY)."""
MEASURED_SET = "squad_dev"
MEASURED_ARTICLES = 10
"""So many of its articles are never taught: they are what the generator is measured on."""
MEASURED_LESSONS = 60
MAX_ANSWER_WORDS = 8
"""Longer answers are clauses and sentences; the adapters are to learn facts."""
MAX_TOKENS = 400
WARM_UP_STEPS = 20
ADAPTER = "default"

RECIPE = Recipe(
    base_model=BASE_NAME,
    lora=LoraRecipe(rank=16, alpha=32),
    training=TrainingRecipe(
        epochs=3, learning_rate=6e-4, pairs_per_step=16, token_budget=640, system_prompt=""
    ),
)


@dataclass(frozen=True)
class Lesson:
    """What the generator sees, and what it should write."""

    prompt: str
    pairs: tuple[tuple[str, str], ...]

    def completion(self, order: random.Random) -> str:
        """The pairs as the ``lines`` profile reads them, in a random order: none of them comes first."""
        shuffled = order.sample(self.pairs, len(self.pairs))
        return "".join(f"Q: {question}\nA: {answer}\n" for question, answer in shuffled)


def measured_articles(doc_ids: Sequence[str]) -> set[str]:
    """The documents that are kept for measuring: the first by the hash of their id."""
    ranked = sorted(doc_ids, key=lambda doc_id: hashlib.sha256(doc_id.encode()).hexdigest())
    return set(ranked[:MEASURED_ARTICLES])


def read_set(path: Path) -> list[dict[str, Any]]:
    """The documents of one set."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def lessons_of(document: dict[str, Any]) -> Iterator[Lesson]:
    """One lesson for every sentence that holds short verbatim answers."""
    text: str = document.get("text") or document["context"]
    title = document["title"].replace("_", " ")
    segments = split(text, SegmentationRecipe())
    found: dict[int, list[tuple[str, str]]] = {}
    for asked in document["qas"]:
        answer = min(asked.get("answers") or [""], key=len).strip()
        question = " ".join(asked["question"].split())
        if not answer or len(answer.split()) > MAX_ANSWER_WORDS or not question.endswith("?"):
            continue
        begin, end = 0, len(text)
        if "paragraph_spans" in document:
            begin, end = document["paragraph_spans"][asked["paragraph"]]
        holding = [s for s in segments if s.start >= begin and s.end <= end and answer in s.text]
        if holding:
            words = set(re.findall(r"\w+", question.lower()))
            best = max(holding, key=lambda s: len(words & set(re.findall(r"\w+", s.text.lower()))))
            found.setdefault(best.number, []).append((question, answer))
    for number, pairs in found.items():
        segment = segments[number]
        context = context_before(text, segment.start, RECIPE.generator.context_words)
        yield Lesson(lines_prompt(title, context, " ".join(segment.text.split())), tuple(pairs))


def read_lessons(data: Path) -> tuple[list[Lesson], list[Lesson]]:
    """The lessons of all sets: those that are taught, and those of the articles that are kept back."""
    taught: list[Lesson] = []
    kept_back: list[Lesson] = []
    for name in SETS:
        documents = read_set(data / f"{name}.jsonl")
        measured = measured_articles([d["doc_id"] for d in documents]) if name == MEASURED_SET else set()
        for document in documents:
            (kept_back if document["doc_id"] in measured else taught).extend(lessons_of(document))
    return taught, kept_back


def teach(data: Path, base: Path, out: Path, minutes: float) -> None:
    """Train the generator's adapter on the sets in ``data`` and write it to ``out``.

    The learning rate falls to nearly nothing by the end of the last epoch or of ``minutes``,
    whichever comes first.
    """
    from lift_core.training.adapter_files import save_adapter
    from lift_core.training.backbone import Backbone
    from lift_core.training.encoding import Example
    from lift_core.training.packing import Batch
    from lift_core.training.stepper import Stepper

    log = structlog.get_logger("lift.teaching")
    taught, kept_back = read_lessons(data)
    training = RECIPE.training
    order = random.Random(training.seed)  # noqa: S311 - an order, not a secret
    backbone = Backbone(base, training.precision)
    tokenizer = backbone.tokenizer

    def encode(lesson: Lesson) -> Example:
        prompt = tokenizer.encode(lesson.prompt, add_special_tokens=False)
        answer = tokenizer.encode(lesson.completion(order), add_special_tokens=False)
        return Example(tuple(prompt), (*answer, tokenizer.eos_token_id))

    def batch_of(examples: Sequence[Example]) -> Batch:
        # No common prefix: every prompt begins with its own title.
        return Batch(ADAPTER, (), tuple(examples))

    sample = order.sample(kept_back, min(MEASURED_LESSONS, len(kept_back)))
    asked = batch_of([encode(lesson) for lesson in sample])
    size = training.pairs_per_step
    steps = training.epochs * (len(taught) // size)
    losses: list[float] = []
    with backbone.adapters([ADAPTER], RECIPE.lora, [training.seed]) as adapters:
        stepper = Stepper(adapters, {ADAPTER: training})
        log.info(
            "before", lessons=len(taught), kept_back=len(kept_back), loss=round(stepper.mean_loss(asked), 3)
        )
        started = time.monotonic()
        for begin in _batches_of(len(taught), size, training.epochs):
            if begin == 0:
                order.shuffle(taught)
            done = max(len(losses) / steps, (time.monotonic() - started) / (60 * minutes))
            if done >= 1:
                break
            lessons = [encode(lesson) for lesson in taught[begin : begin + size]]
            warm_up = min(1.0, (len(losses) + 1) / WARM_UP_STEPS)
            falling = 0.03 + 0.97 * (1 + math.cos(math.pi * done)) / 2
            rate = training.learning_rate * warm_up * falling
            batch = batch_of([each for each in lessons if each.length <= MAX_TOKENS])
            losses.append(stepper.step([batch], {ADAPTER: rate})[ADAPTER])
            if len(losses) % 10 == 0:
                recent = sum(losses[-50:]) / len(losses[-50:])
                log.info("teaching", step=f"{len(losses)}/{steps}", done=f"{done:.0%}", loss=round(recent, 3))
        log.info("after", loss=round(stepper.mean_loss(asked), 3))
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
    parser.add_argument("--minutes", type=float, default=60, help="stop after so long (default: 60)")
    options = parser.parse_args()
    configure()
    teach(options.data, options.base or lift_home() / "models" / BASE_NAME, options.out, options.minutes)


if __name__ == "__main__":
    main()

"""The arms of benchmark ``training``, what all of them learn, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lift_core.errors import LiftError
from lift_core.prompting import messages
from lift_core.records import QAPair, Recipe, Record, TrainingRecipe

IGNORED = -100
"""The label of a token that is not learned, as transformers and TRL have it."""

Tokens = dict[str, list[int]]
"""A pair as the peers take it: ``input_ids`` of the whole prompt and answer, and as many ``labels``."""


class Question(Record):
    """A question that is asked after the training, and the answers that count as right."""

    question: str
    answers: tuple[str, ...]


class Arm(Record):
    """One way of training: ``rows`` pairs a forward pass, and ``passes`` of those an optimizer step.

    With ``packing`` a pass is one pack, which holds ``rows`` pairs on average. ``order`` is the trainer's
    ``train_sampling_strategy``. Our trainer packs by its own rules and heeds none of these.
    """

    name: str
    trainer: Literal["lift", "transformers", "trl"]
    rows: int = 8
    passes: int = 1
    order: Literal["sequential", "random", "group_by_length"] = "sequential"
    packing: Literal["bfd", "wrapped"] | None = None
    padding_free: bool = False
    attention: str = "sdpa"


class Job(Record):
    """What one process does: train ``arm`` on ``pairs``, then ask the adapter, where there are questions.

    ``warm_up`` optimizer steps are trained before the clock starts. ``ask_base``: ask the base model too.
    """

    arm: Arm
    recipe: Recipe
    title: str
    base_path: Path
    pairs: tuple[QAPair, ...]
    warm_up: int = 2
    learned: tuple[Question, ...] = ()
    other: tuple[Question, ...] = ()
    ask_base: bool = False


class Outcome(Record):
    """What came of a job. Losses are means over answer tokens, in nats; memory is in GiB.

    ``first_loss`` is that of the first step, before anything is learned, and ``alone_loss`` the base model's
    for the same tokens when each pair is read by itself: they differ where pairs of a pack see each other.
    ``f1`` has the mean F1 of ``learned`` and ``other`` questions, and the base model's.
    """

    pairs: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    device: str = ""
    device_peak: float | None = None
    first_loss: float | None = None
    alone_loss: float | None = None
    f1: dict[str, float] = Field(default_factory=dict)
    refused: str | None = None
    """Why the trainer does not do this here, in its own words."""


OURS = Arm(name="ours", trainer="lift")
PAPER_LOOP = Arm(name="paper-loop", trainer="transformers", rows=4, passes=2)
GRID = (
    Arm(name="trl-padded-4x2", trainer="trl", rows=4, passes=2),
    Arm(name="trl-padded-8x1", trainer="trl"),
    Arm(name="trl-grouped-4x2", trainer="trl", rows=4, passes=2, order="group_by_length"),
    Arm(name="trl-grouped-8x1", trainer="trl", order="group_by_length"),
    Arm(name="trl-padding-free-4x2", trainer="trl", rows=4, passes=2, padding_free=True),
    Arm(name="trl-padding-free-8x1", trainer="trl", padding_free=True),
    # Packs come with the longest pairs first: in that order the warm-up would take the dearest ones.
    Arm(name="trl-packed-4x2", trainer="trl", rows=4, passes=2, packing="bfd", order="random"),
    Arm(name="trl-packed-8x1", trainer="trl", packing="bfd", order="random"),
    Arm(name="trl-wrapped-8x1", trainer="trl", packing="wrapped"),
    Arm(
        name="trl-packed-8x1-flash",
        trainer="trl",
        packing="bfd",
        order="random",
        attention="flash_attention_2",
    ),
)


# --- pairs and their tokens ------------------------------------------------------------------


@dataclass(frozen=True)
class Lesson:
    """A few paragraphs of an article: pairs to learn, their questions, and others that are not learned."""

    title: str
    pairs: tuple[QAPair, ...]
    learned: tuple[Question, ...]
    other: tuple[Question, ...]


def read_pairs(data: Path, count: int) -> list[QAPair]:
    """The first ``count`` pairs of SQuAD's articles, in document order: each question, its first answer.

    Raises:
        LiftError: the set is not in the folder ``data``, or is smaller than that.
    """
    pairs = [_pair(asked) for article in _articles(data) for asked in article["qas"]]
    if len(pairs) < count:
        raise LiftError(
            f"{data}/squad_dev.jsonl has {len(pairs)} pairs, and {count} are needed: take the whole set"
        )
    return pairs[:count]


def read_documents(data: Path, count: int, pairs: int) -> list[tuple[str, list[QAPair]]]:
    """So many small documents: the title of an article and its first pairs.

    Raises:
        LiftError: the set is not in the folder ``data``, or has too few articles.
    """
    found = [
        (article["title"].replace("_", " "), [_pair(asked) for asked in article["qas"][:pairs]])
        for article in _articles(data)
        if len(article["qas"]) >= pairs and "." not in article["title"]
    ]
    if len(found) < count:
        raise LiftError(f"{data}/squad_dev.jsonl has {len(found)} such articles, and {count} are needed")
    return found[:count]


def read_lesson(data: Path, count: int) -> Lesson:
    """The first paragraphs of the first article that has enough of them, until ``count`` pairs are learned.

    Of each paragraph every other question is learned; those between are not.

    Raises:
        LiftError: the set is not in the folder ``data``, or no article is long enough.
    """
    for article in _articles(data):
        asked, skipped = article["qas"][: 2 * count : 2], article["qas"][1 : 2 * count : 2]
        if len(asked) == count == len(skipped):
            return Lesson(
                title=article["title"].replace("_", " "),
                pairs=tuple(_pair(each) for each in asked),
                learned=tuple(_question(each) for each in asked),
                other=tuple(_question(each) for each in skipped),
            )
    raise LiftError(f"no article of {data}/squad_dev.jsonl has {2 * count} questions: take the whole set")


def tokens_of(pairs: Sequence[QAPair], tokenizer: Any, recipe: TrainingRecipe, title: str) -> list[Tokens]:
    """The pairs as transformers and TRL train on them: the tokens that our trainer learns, not packed.

    The answer, with its end-of-turn token, is all that is learned.
    """
    found = []
    for pair in pairs:
        text = tokenizer.apply_chat_template(
            messages(recipe, title, pair.question), add_generation_prompt=True, tokenize=False
        )
        prompt = list(tokenizer.encode(text, add_special_tokens=False))
        answer = [*tokenizer.encode(pair.answer, add_special_tokens=False), tokenizer.eos_token_id]
        found.append({"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer})
    return found


def _articles(data: Path) -> list[dict[str, Any]]:
    path = data / "squad_dev.jsonl"
    if not path.is_file():
        raise LiftError(f"{path} is missing: the benchmark needs the public set 'squad_dev' in that folder")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _pair(asked: dict[str, Any]) -> QAPair:
    return QAPair(segment=asked["paragraph"], question=asked["question"], answer=asked["answers"][0])


def _question(asked: dict[str, Any]) -> Question:
    return Question(question=asked["question"], answers=tuple(asked["answers"]))

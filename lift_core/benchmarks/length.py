"""Benchmark ``length``: a document longer than the base model's context, asked from the query alone.

Paragraphs of public articles that the embedded generator was never taught are put together until they are
half as long again as the context. The generator writes pairs about all of it, an adapter learns them, and the
questions that people wrote about its last third are asked: the adapter and its base model from the query
alone, and the base model with as much of the document's beginning before the question as fits. That much ends
before the last third begins. As a control the same three are asked about what the reader does see.

F1 over words also counts the form: a base model answers in sentences, an adapter in the few words that its
pairs taught it.
"""

from __future__ import annotations

import json
import math
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift_core.base_models import base_model_folder
from lift_core.benchmarks.overlap import generate_and_train
from lift_core.benchmarks.reading import read
from lift_core.benchmarks.report import Report
from lift_core.benchmarks.routing import kept_back
from lift_core.benchmarks.scratch import Scratch, scratch
from lift_core.errors import LiftError
from lift_core.evaluation.closed_book import answers
from lift_core.evaluation.loading import add_adapter, fastest_dtype, load_base
from lift_core.evaluation.scoring import f1
from lift_core.evaluation.statistics.bootstrap import FEWEST_ITEMS, mean_difference
from lift_core.prompting import messages, with_context
from lift_core.records import Claim, Recipe
from lift_core.settings import Settings
from lift_core.training import Backbone, TrainingProgress

SET = "squad_dev"
LENGTH = 1.5
"""Of the document, in contexts: two thirds of it are a whole context, of which a reader needs some itself."""
QUICK_CONTEXT = 1152
"""Tokens. It leaves some 30 questions on the last third: too few have no interval."""
MAX_TOKENS = 32
"""Of an answer."""
ADAPTER = "adapter, query alone"
READER = "base model that reads the beginning"
BASE = "base model, query alone"
LAST_THIRD, BEGINNING = "questions on the last third", "control, questions on the beginning that fits"
_READING_PROMPT = 'Answer briefly from "{title}".'
_JOINTS = 8
"""Tokens that a text may take more between other words than alone."""
_ONE_SIDED = 0.025

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers, and where its paragraph lies: characters of the document's text."""

    question: str
    answers: tuple[str, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class LongDocument:
    """A document and the questions about it; ``ends`` are the characters at which its tokens end."""

    title: str
    text: str
    ends: tuple[int, ...]
    questions: tuple[Question, ...]

    def beginning(self, tokens: int) -> str:
        """The first so many tokens of the text, all of it where it has fewer."""
        return self.text[: self.ends[min(tokens, len(self.ends)) - 1]] if tokens > 0 else ""

    def last_third(self) -> list[Question]:
        """The questions whose paragraph lies whole in the last third of the tokens."""
        begins = self.ends[math.ceil(len(self.ends) * 2 / 3) - 1]
        return [each for each in self.questions if each.begin >= begins]

    def seen(self, text: str) -> list[Question]:
        """The questions whose paragraph lies whole in ``text``, a beginning of the document."""
        return [each for each in self.questions if each.end <= len(text)]


def run(
    settings: Settings,
    data: Path,
    recipe: Recipe,
    *,
    quick: bool,
    epochs: int | None = None,
    on_progress: Progress,
) -> Report:
    """Learn the document and ask; PostgreSQL, the object store and the generator's server must be up.

    ``data`` is the folder of the set; ``epochs`` are the recipe's where None. ``quick`` bounds the context to
    ``QUICK_CONTEXT`` tokens and takes a document to match. ``on_progress`` gets the phase, how much of it is
    done, and how much there is.

    Raises:
        LiftError: the set is missing or too small, a service is away, or the document could not be learned.
    """
    if epochs is not None:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": epochs})})
    base_folder = base_model_folder(recipe, settings)
    backbone = Backbone(base_folder, recipe.training.precision)
    context = whole = int(backbone.base.config.max_position_embeddings)
    if quick:
        context = min(QUICK_CONTEXT, whole)
    document = make_document(read_articles(data), backbone.tokenizer, math.ceil(LENGTH * context))
    visible = visible_part(document, backbone.tokenizer, recipe, context)
    with scratch(settings) as made, tempfile.TemporaryDirectory(prefix="lift-bench-") as folder:
        claim, segments = made.begin("long.md", document.text.encode(), recipe)
        times = generate_and_train(
            made.steps,
            claim,
            backbone=backbone,
            folder=Path(folder),
            overlapped=True,
            on_step=_learning(made, claim, segments, on_progress),
        )
        # The base is loaded anew, as it is for asking; a large one does not fit twice.
        del backbone
        scores = _ask(document, visible, recipe, base_folder, Path(folder), on_progress)
    bounded = f", context bounded to {context:,} tokens" if context < whole else ""
    return Report(
        name="length",
        settings={
            "document": f"'{document.title}'",
            "tokens": len(document.ends),
            "context": context,
            "characters that the reader sees": f"{len(visible)} of {len(document.text)}",
            "segments": segments,
            "pairs learned": times.pairs,
            "base model": recipe.base_model,
            "generator": recipe.generator.model,
            "epochs": recipe.training.epochs,
            "seconds until trained": round(times.trained),
            "answers' tokens": MAX_TOKENS,
            "interval": "95 %, studentised bootstrap over paired questions",
        },
        rows=rows_of(scores, bounded),
    )


def _learning(
    made: Scratch, claim: Claim, segments: int, on_progress: Progress
) -> Callable[[TrainingProgress], None]:
    """What to tell after each step: in the first epoch how far the pairs are, then how far the steps."""
    steps_per_epoch = 0
    epochs = claim.recipe.training.epochs

    def stepped(progress: TrainingProgress) -> None:
        nonlocal steps_per_epoch
        if progress.epoch == 1:
            steps_per_epoch = progress.step
            shards = made.steps.registry.shards(claim.job_id)
            on_progress("generating, and epoch 1", shards[-1].last_segment + 1 if shards else 0, segments)
        else:
            on_progress(f"epoch {progress.epoch}", progress.step, steps_per_epoch * epochs)

    return stepped


# --- the document -----------------------------------------------------------------------------


def read_articles(data: Path) -> list[dict[str, Any]]:
    """The set's articles that the embedded generator was never taught, the longest first.

    Raises:
        LiftError: the set is not in the folder.
    """
    path = data / f"{SET}.jsonl"
    if not path.is_file():
        raise LiftError(f"{path} is missing: the benchmark needs the public set '{SET}' in that folder")
    articles = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    untaught = kept_back([each["doc_id"] for each in articles])
    chosen = [each for each in articles if each["doc_id"] in untaught]
    return sorted(chosen, key=lambda each: (-len(each["context"]), each["doc_id"]))


def make_document(articles: Sequence[Mapping[str, Any]], tokenizer: Any, tokens: int) -> LongDocument:
    """Paragraphs of the articles, one article after the other, until they have ``tokens`` tokens.

    Raises:
        LiftError: all of them have fewer.
    """
    titles: list[str] = []
    taken: list[tuple[str, list[Mapping[str, Any]]]] = []
    ends: tuple[int, ...] = ()
    for article in articles:
        titles.append(str(article["title"]).replace("_", " "))
        for number, (start, end) in enumerate(article["paragraph_spans"]):
            # As the pipeline reads documents: offsets must be those of its text.
            paragraph = unicodedata.normalize("NFC", article["context"][start:end])
            taken.append((paragraph, [each for each in article["qas"] if each["paragraph"] == number]))
            title = " and ".join(titles)
            text = f"# {title}\n\n" + "\n\n".join(paragraph for paragraph, _ in taken)
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            ends = tuple(end for _, end in encoded["offset_mapping"])
            if len(ends) >= tokens:
                return LongDocument(title, text, ends, tuple(_questions(f"# {title}\n\n", taken)))
    raise LiftError(
        f"the articles of '{SET}' that the generator was not taught have {len(ends):,} tokens; the benchmark "
        f"needs a document of {tokens:,}: take the whole set"
    )


def _questions(heading: str, taken: Sequence[tuple[str, list[Mapping[str, Any]]]]) -> list[Question]:
    found, begin = [], len(heading)
    for paragraph, asked in taken:
        end = begin + len(paragraph)
        found += [Question(each["question"], tuple(each["answers"]), begin, end) for each in asked]
        begin = end + len("\n\n")
    return found


# --- asking -----------------------------------------------------------------------------------


def _ask(
    document: LongDocument,
    visible: str,
    recipe: Recipe,
    base_folder: Path,
    adapter_folder: Path,
    on_progress: Progress,
) -> dict[str, dict[str, list[float]]]:
    """F1 of every question, by group of questions and by who answered."""
    base, tokenizer = load_base(base_folder, fastest_dtype(recipe.training.precision))
    last = document.last_third()
    seen = evenly(document.seen(visible), len(last))
    asked = [*last, *seen]
    prompts = [reading_prompt(tokenizer, recipe, document.title, visible, each.question) for each in asked]
    own = base.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}

    def from_memory(model: Any, who: str) -> list[str]:
        return answers(
            model,
            tokenizer,
            recipe,
            document.title,
            [each.question for each in asked],
            max_tokens=MAX_TOKENS,
            on_progress=lambda done: on_progress(f"asking: {who}", done, len(asked)),
        )

    on_progress(f"asking: {READER}", 0, len(asked))
    tokens = read(
        base,
        prompts,
        ends,
        max_tokens=MAX_TOKENS,
        on_progress=lambda done: on_progress(f"asking: {READER}", done, len(asked)),
    )
    said = {
        READER: [tokenizer.decode(each, skip_special_tokens=True).strip() for each in tokens],
        BASE: from_memory(base, BASE),
        ADAPTER: from_memory(add_adapter(base, adapter_folder), ADAPTER),
    }
    scores = {
        who: [f1(answer, each.answers) for answer, each in zip(given, asked, strict=True)]
        for who, given in said.items()
    }
    return {
        LAST_THIRD: {who: found[: len(last)] for who, found in scores.items()},
        BEGINNING: {who: found[len(last) :] for who, found in scores.items()},
    }


def visible_part(document: LongDocument, tokenizer: Any, recipe: Recipe, context: int) -> str:
    """As much of the document's beginning as fits into the context before any question and its answer.

    The end is left out, not the middle as ``lift ask --context`` does it: what is compared is a reader that
    cannot see the end.
    """
    longest = max(
        len(reading_prompt(tokenizer, recipe, document.title, "", each.question))
        for each in document.questions
    )
    return document.beginning(context - MAX_TOKENS - longest - _JOINTS)


def reading_prompt(tokenizer: Any, recipe: Recipe, title: str, text: str, question: str) -> list[int]:
    """Tokens of a question behind a text, with a system prompt that says to read."""
    training = recipe.training.model_copy(update={"system_prompt": _READING_PROMPT})
    asked = messages(training, title, with_context(title, text, question))
    words = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(words, add_special_tokens=False))


def evenly(questions: Sequence[Question], count: int) -> list[Question]:
    """At most ``count`` of the questions, spread over all of them."""
    if len(questions) <= count:
        return list(questions)
    return [questions[number * len(questions) // count] for number in range(count)]


# --- figures ----------------------------------------------------------------------------------


def rows_of(scores: Mapping[str, Mapping[str, Sequence[float]]], note: str = "") -> list[dict[str, Any]]:
    """The adapter beside the reader and beside its base model, for each group of questions.

    ``low`` and ``high`` bound the difference of the means, adapter minus peer; None where too few questions
    are asked, or too few are answered otherwise, to bound it.
    """
    rows = []
    for group, found in scores.items():
        ours = found[ADAPTER]
        if not ours:
            continue
        for peer in (READER, BASE):
            theirs = found[peer]
            low, high = _interval(theirs, ours)
            rows.append(
                {
                    "name": f"{group}: {ADAPTER}; peer: {peer}{note}",
                    "unit": "F1",
                    "n": len(ours),
                    "ours": round(sum(ours) / len(ours), 4),
                    "peer": round(sum(theirs) / len(theirs), 4),
                    "difference": round((sum(ours) - sum(theirs)) / len(ours), 4),
                    "low": low,
                    "high": high,
                }
            )
    return rows


def _interval(peer: Sequence[float], ours: Sequence[float]) -> tuple[float | None, float | None]:
    if len(ours) < FEWEST_ITEMS:
        return None, None
    interval = mean_difference(peer, ours, seed=0).interval(_ONE_SIDED)
    low, high = (round(end, 4) if math.isfinite(end) else None for end in interval)
    return low, high

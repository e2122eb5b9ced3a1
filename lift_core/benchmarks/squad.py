"""Benchmark ``squad``: what adapters learn from generated pairs, asked what people asked about documents.

The documents are the beginnings of the public SQuAD articles that the embedded generator was never taught,
the questions those that were written about that beginning (Rajpurkar et al. 2016); no model sees them before.
For each document the generator writes pairs, the gate judges them, an adapter learns what is kept, and
answers from the query alone. Beside it:

- the base model, which learned nothing;
- Finetune-Raw (arXiv 2502.14644, table 1): the same LoRA on the document's own text, for as many seconds as
  the pairs' training took;
- where its server is named, the base model as generator: the same prompt, sampling and gate, before it was
  taught to write pairs.

Intervals are Student's over the documents, 95 %.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import tempfile
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lift_core.base_models import base_model_folder
from lift_core.benchmarks.length import read_articles
from lift_core.benchmarks.report import Report
from lift_core.documents import split
from lift_core.evaluation.closed_book import answers
from lift_core.evaluation.loading import add_adapter, fastest_dtype, load_base
from lift_core.evaluation.scoring import f1
from lift_core.records import JudgedPair, PairReport, QAPair, Recipe
from lift_core.settings import Settings
from lift_core.synthesis import PairWriter
from lift_core.synthesis.gate import Gate
from lift_core.training import Backbone, train

WORDS = 1000
"""Of each article, in whole paragraphs. Two cores take about five minutes for so much."""
QUICK_DOCUMENTS = 1
QUICK_WORDS = 300
MAX_TOKENS = 32
"""Of an answer."""
TIMED_EPOCHS = (1, 5)
"""Of raw text, to know how many fit into the pairs' training time, whose start is paid once."""
LEARNED, RAW, BASE, UNTAUGHT = (
    "adapter of the kept pairs",
    "Finetune-Raw, equal time",
    "base model",
    "adapter of the untaught generator's pairs",
)
_CONFIDENCE = 0.975

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Excerpt:
    """The beginning of an article, and what people asked about it."""

    title: str
    text: str
    questions: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Written:
    """A document's judged pairs, how good they are, and what they took."""

    judged: list[JudgedPair]
    checked: list[QAPair]
    """What would be kept without the reader; empty where the recipe has none."""
    figures: dict[str, float]

    @property
    def kept(self) -> list[QAPair]:
        """What is learned."""
        return [each.pair for each in self.judged if each.kept]


def run(
    settings: Settings,
    data: Path,
    recipe: Recipe,
    *,
    quick: bool,
    words: int = WORDS,
    untaught: str = "",
    on_progress: Progress,
) -> Report:
    """Measure; the generator's server must be up. ``data`` is the folder of the set.

    ``untaught`` is the OpenAI-compatible base URL of a server that has the recipe's base model; empty: that
    arm is left out. ``on_progress`` gets the phase, how many documents are done, and how many there are.

    Raises:
        LiftError: the set is missing, or a server is away.
    """
    excerpts = [excerpt_of(article, QUICK_WORDS if quick else words) for article in read_articles(data)]
    if quick:
        excerpts = excerpts[:QUICK_DOCUMENTS]
    backbone = Backbone(base_model_folder(recipe, settings), recipe.training.precision)
    found: list[dict[str, Any]] = []
    for number, excerpt in enumerate(excerpts):

        def said(phase: str, title: str = excerpt.title, done: int = number) -> None:
            on_progress(f"{title}: {phase}", done, len(excerpts))

        found.append(_measure(excerpt, recipe, settings, backbone, untaught, said))
    return Report(
        name="squad",
        settings={
            "documents": len(excerpts),
            "words of each": QUICK_WORDS if quick else words,
            "base model": recipe.base_model,
            "generator": f"{recipe.generator.model} {recipe.generator.revision}",
            "profile": recipe.generator.profile,
            "pairs": recipe.generator.pairs,
            "completions": recipe.generator.greedy_samples + recipe.generator.sampled,
            "reader": recipe.gate.reader or "none",
            "reads": recipe.gate.reads,
            "agreeing share": recipe.gate.agreeing_share,
            "epochs": recipe.training.epochs,
            "rank": recipe.lora.rank,
            "rate": recipe.training.learning_rate,
            "equal time": "processor time of training",
            "answers' tokens": MAX_TOKENS,
            "interval": "95 %, Student's t over documents",
        },
        rows=rows_of(found),
        details=found,
    )


def excerpt_of(article: Mapping[str, Any], words: int) -> Excerpt:
    """Whole paragraphs from an article's beginning until they have ``words`` words, and their questions."""
    title = str(article["title"]).replace("_", " ")
    paragraphs: list[str] = []
    for begin, end in article["paragraph_spans"]:
        # As the pipeline reads documents.
        paragraphs.append(unicodedata.normalize("NFC", article["context"][begin:end]))
        if sum(len(paragraph.split()) for paragraph in paragraphs) >= words:
            break
    asked = [
        (str(each["question"]), tuple(map(str, each["answers"])))
        for each in article["qas"]
        if each["paragraph"] < len(paragraphs)
    ]
    return Excerpt(title, f"# {title}\n\n" + "\n\n".join(paragraphs), tuple(asked))


def _measure(
    excerpt: Excerpt,
    recipe: Recipe,
    settings: Settings,
    backbone: Backbone,
    untaught: str,
    said: Callable[[str], None],
) -> dict[str, Any]:
    """A document's row: one figure a column."""
    row: dict[str, Any] = {"name": excerpt.title, "n": len(excerpt.questions)}
    said("writing pairs")
    written = write_pairs(excerpt, recipe, settings)
    row.update(written.figures)
    said("learning the pairs")
    learned, seconds = learn(excerpt, written.kept, recipe, backbone)
    row[LEARNED] = score(excerpt, recipe, settings, learned, said)
    row["training s"] = round(seconds, 1)
    said("learning the raw text")
    learned, epochs, raw_seconds = _train_raw(excerpt, recipe, backbone, seconds)
    row[RAW] = score(excerpt, recipe, settings, learned, said)
    row["raw epochs"], row["raw training s"] = epochs, round(raw_seconds, 1)
    row[BASE] = score(excerpt, recipe, settings, None, said)
    if untaught:
        said("writing pairs, untaught")
        generator = recipe.generator.model_copy(update={"model": recipe.base_model})
        own = recipe.model_copy(update={"generator": generator})
        written = write_pairs(excerpt, own, written_elsewhere(settings, untaught))
        row.update({f"untaught {name}": value for name, value in written.figures.items()})
        row[UNTAUGHT] = row[BASE]
        # Without pairs there is no adapter: the base model answers.
        if len(written.kept) >= recipe.training.pairs_per_step:
            said("learning the untaught generator's pairs")
            learned, _ = learn(excerpt, written.kept, recipe, backbone)
            row[UNTAUGHT] = score(excerpt, recipe, settings, learned, said)
    return row


def write_pairs(excerpt: Excerpt, recipe: Recipe, settings: Settings) -> Written:
    """What the generator writes about an excerpt, judged."""
    segments = split(excerpt.text, recipe.segmentation)
    began = time.monotonic()

    async def write() -> tuple[list[JudgedPair], PairReport]:
        writer = PairWriter(
            title=excerpt.title, text=excerpt.text, segments=segments, recipe=recipe, settings=settings
        )
        async with writer, aclosing(writer.pairs()) as pairs:
            judged = [each async for _, found in pairs for each in found]
            return judged, await writer.report(judged)

    judged, report = asyncio.run(write())
    faithfulness = report.faithfulness
    checked = checks_alone(judged, recipe) if recipe.gate.reader else []
    return Written(
        judged,
        checked,
        {
            "segments": len(segments),
            "pairs": report.pairs,
            "kept": round(report.kept_share, 3),
            **({"kept by the checks": round(len(checked) / max(1, report.pairs), 3)} if checked else {}),
            **{f"rejected: {reason}": count for reason, count in sorted(report.rejected.items())},
            "covered": round(report.coverage.segments, 3),
            **({} if faithfulness is None else {"faithful": round(faithfulness.share, 3)}),
            "writing s": round(time.monotonic() - began, 1),
        },
    )


def written_elsewhere(settings: Settings, url: str) -> Settings:
    """The same with another server that writes; who reads them back stays the same, with its key."""
    changes: dict[str, object] = {"generator_url": url}
    if not settings.reader_url:
        changes |= {"reader_url": settings.generator_url, "reader_api_key": settings.generator_api_key}
    return settings.model_copy(update=changes)


def checks_alone(judged: Sequence[JudgedPair], recipe: Recipe) -> list[QAPair]:
    """The pairs that the gate would keep if nobody read them back: its last step is done again."""
    gate = Gate(recipe, "")
    kept: list[QAPair] = []
    for _, segment in groupby(judged, key=lambda each: each.pair.segment):
        unread = [
            each.model_copy(update={"kept": True, "reason": None})
            if each.reason in ("duplicate", "excess") or each.detail.startswith("the reader ")
            else each
            for each in segment
        ]
        kept += [each.pair for each in gate.settle(unread) if each.kept]
    return kept


def learn(
    excerpt: Excerpt, pairs: Sequence[QAPair], recipe: Recipe, backbone: Backbone
) -> tuple[tempfile.TemporaryDirectory[str], float]:
    """The adapter's folder, and the seconds of processor time that it took: those of a clock would count what
    else the machine does."""
    folder = tempfile.TemporaryDirectory(prefix="lift-bench-")
    began = time.process_time()
    train(
        pairs,
        recipe=recipe,
        title=excerpt.title,
        base_path=Path(),
        out_dir=Path(folder.name),
        text=excerpt.text,
        backbone=backbone,
    )
    return folder, time.process_time() - began


def _train_raw(
    excerpt: Excerpt, recipe: Recipe, backbone: Backbone, seconds: float
) -> tuple[tempfile.TemporaryDirectory[str], int, float]:
    """An adapter of the raw text that took about ``seconds``: its folder, its epochs, and what it took."""
    taken: list[float] = []
    for epochs in TIMED_EPOCHS:
        folder, took = learn(excerpt, [], _with_training(recipe, raw_text="only", epochs=epochs), backbone)
        folder.cleanup()
        taken.append(took)
    epochs = fitting_epochs(seconds, taken)
    learned, took = learn(excerpt, [], _with_training(recipe, raw_text="only", epochs=epochs), backbone)
    return learned, epochs, took


def fitting_epochs(seconds: float, taken: Sequence[float]) -> int:
    """How many epochs take ``seconds``, where ``TIMED_EPOCHS`` took ``taken``: a start and equal epochs."""
    few, many = TIMED_EPOCHS
    epoch = (taken[1] - taken[0]) / (many - few)
    if epoch <= 0:
        # So short that the clock's noise is all there is.
        epoch = taken[1] / many
    return max(1, round((seconds - (taken[0] - few * epoch)) / epoch))


def _with_training(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with another training. Equal time may take more epochs of raw text than a recipe allows."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def score(
    excerpt: Excerpt,
    recipe: Recipe,
    settings: Settings,
    adapter: tempfile.TemporaryDirectory[str] | None,
    said: Callable[[str], None],
) -> float:
    """Mean F1 of the answers from the query alone; the adapter's folder is removed."""
    said("asking")
    model, tokenizer = load_base(
        base_model_folder(recipe, settings), fastest_dtype(recipe.training.precision)
    )
    if adapter is not None:
        model = add_adapter(model, Path(adapter.name))
    given = answers(
        model,
        tokenizer,
        recipe,
        excerpt.title,
        [question for question, _ in excerpt.questions],
        max_tokens=MAX_TOKENS,
    )
    if adapter is not None:
        adapter.cleanup()
    return round(
        statistics.fmean(
            f1(answer, right) for answer, (_, right) in zip(given, excerpt.questions, strict=True)
        ),
        4,
    )


def rows_of(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over the documents with their intervals; the arms beside the adapter of the kept pairs."""
    rows: list[dict[str, Any]] = []
    for column in (LEARNED, "kept", "kept by the checks", "covered", "untaught kept", "untaught covered"):
        values = [float(row[column]) for row in found if column in row]
        if values:
            low, high = interval(values)
            rows.append(
                {"name": f"mean: {column}", "ours": statistics.fmean(values), "low": low, "high": high}
            )
    for arm in (RAW, BASE, UNTAUGHT):
        pairs = [(float(row[LEARNED]), float(row[arm])) for row in found if arm in row]
        if not pairs:
            continue
        ours, peer = statistics.fmean(one for one, _ in pairs), statistics.fmean(two for _, two in pairs)
        low, high = interval([one - two for one, two in pairs])
        rows.append(
            {
                "name": f"mean: {LEARNED}; peer: {arm}",
                "unit": "F1",
                "ours": ours,
                "peer": peer,
                "ratio": ours / peer if peer else None,
                "difference": ours - peer,
                "low": low,
                "high": high,
            }
        )
    return rows


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's 95 % interval of a mean; None where one document cannot bound it."""
    from scipy.stats import t

    if len(values) < 2:
        return None, None
    half = float(t.ppf(_CONFIDENCE, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half

"""Benchmark ``factors``: what moves the closed-book F1 of adapters, one setting of the recipe at a time.

Documents and questions are those of the benchmark ``squad``. What changes the training alone learns from the
very pairs that the recipe's own adapter learned; what changes the writing has its pairs written anew. Every
adapter is held against the recipe's own of the same document.

Adapters of one document are trained and asked side by side, a core each: a small model does not fill
two. No time is reported.

Intervals are Student's over the documents, 95 %, and stand for one setting each: of twenty settings that
change nothing, one is expected to seem to.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from lift_core.base_models import base_model_folder
from lift_core.benchmarks.length import read_articles
from lift_core.benchmarks.report import Report
from lift_core.benchmarks.squad import (
    MAX_TOKENS,
    Excerpt,
    Written,
    excerpt_of,
    interval,
    learn,
    score,
    write_pairs,
)
from lift_core.errors import LiftError
from lift_core.processor import usable_cores
from lift_core.records import QAPair, Recipe
from lift_core.settings import Settings
from lift_core.training import Backbone

WORDS = 400
"""Of each article, in whole paragraphs."""
QUICK_DOCUMENTS, QUICK_WORDS, QUICK_FACTORS = 1, 100, 2
AS_IT_IS = "the recipe"
MOST_EPOCHS = 16
_MOST_AT_ONCE = 4
"""Adapters: each has a process with a base model of its own."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Factor:
    """A recipe with one setting changed.

    ``pairs`` are those that its adapter learns: the ``kept`` ones of the recipe's own, what its ``checks``
    alone keep of them, ``all`` that were written, or ``new`` ones.
    """

    name: str
    recipe: Recipe
    pairs: Literal["kept", "checks", "all", "new"] = "kept"


def factors(recipe: Recipe) -> list[Factor]:
    """What is tried around a recipe: half and twice, a quarter and four times, with less and with more."""
    epochs, rate, rank = recipe.training.epochs, recipe.training.learning_rate, recipe.lora.rank
    sampled = recipe.generator.sampled
    completions = recipe.generator.greedy_samples + sampled
    more_epochs = min(MOST_EPOCHS, 2 * epochs)
    found = [
        Factor(f"epochs {max(1, epochs // 2)}", _changed(recipe, "training", epochs=max(1, epochs // 2))),
        Factor(f"epochs {more_epochs}", _changed(recipe, "training", epochs=more_epochs)),
        *(
            Factor(f"rate {rate * times:g}", _changed(recipe, "training", learning_rate=rate * times))
            for times in (0.5, 2)
        ),
        *(
            Factor(
                f"rank {max(1, round(rank * times))}",
                _changed(
                    recipe,
                    "lora",
                    rank=max(1, round(rank * times)),
                    alpha=max(1, round(recipe.lora.alpha * times)),
                ),
            )
            for times in (0.25, 4)
        ),
        Factor("the pairs and the raw text", _changed(recipe, "training", raw_text="also")),
        Factor("no gate: all pairs", recipe, "all"),
    ]
    if recipe.gate.reader:
        found.append(Factor("no reader: what the checks keep", recipe, "checks"))
    if recipe.generator.profile != "cloze":
        found += [
            Factor(
                f"completions {completions - sampled + draws}",
                _changed(recipe, "generator", sampled=draws),
                "new",
            )
            for draws in (sampled // 2, 2 * sampled)
        ]
        found.append(Factor("temperature 1", _changed(recipe, "generator", temperature=1.0), "new"))
    return found


def run(
    settings: Settings,
    data: Path,
    recipe: Recipe,
    *,
    quick: bool,
    words: int = WORDS,
    documents: int | None = None,
    only: Sequence[str] = (),
    on_progress: Progress,
) -> Report:
    """Measure; the generator's server must be up. ``data`` is the folder of the set, ``only`` the beginnings
    of the settings' names that are tried, none of them: all.

    An interrupt (Ctrl-C) ends it early, with the documents that are done. ``on_progress`` gets what is under
    way, how many adapters are done, and how many there are.

    Raises:
        LiftError: the set is missing, a server is away, or no setting is called as in ``only``.
        KeyboardInterrupt: before the first document was done.
    """
    words, documents = (QUICK_WORDS, QUICK_DOCUMENTS) if quick else (words, documents)
    excerpts = [excerpt_of(article, words) for article in read_articles(data)[:documents]]
    tried = named(factors(recipe), only)[: QUICK_FACTORS if quick else None]
    found: list[dict[str, Any]] = []
    total = len(excerpts) * (1 + len(tried))
    with learners(recipe, settings) as pool:
        for excerpt in excerpts:

            def said(
                phase: str,
                adapters: int,
                title: str = excerpt.title,
                before: int = len(found) * (1 + len(tried)),
            ) -> None:
                on_progress(f"{title}: {phase}", before + adapters, total)

            try:
                found.append(_measure(excerpt, recipe, tried, settings, pool, said))
            except KeyboardInterrupt:
                if not found:
                    raise
                break
    return Report(
        name="factors",
        settings={
            "documents": len(found),
            "words of each": words,
            "questions": sum(row["n"] for row in found),
            "base model": recipe.base_model,
            "generator": f"{recipe.generator.model} {recipe.generator.revision}",
            "completions a segment": recipe.generator.greedy_samples + recipe.generator.sampled,
            "temperature": recipe.generator.temperature,
            "epochs": recipe.training.epochs,
            "rank": recipe.lora.rank,
            "rate": recipe.training.learning_rate,
            "answers' tokens": MAX_TOKENS,
            "interval": "95 %, Student's t over documents, of one setting each",
        },
        rows=rows_of(found, [factor.name for factor in tried]),
        details=found,
    )


def named(tried: Sequence[Factor], beginnings: Sequence[str]) -> list[Factor]:
    """Those whose name begins with one of the ``beginnings``; all of them where there are none.

    Raises:
        LiftError: no name begins so.
    """
    for beginning in beginnings:
        if not any(factor.name.startswith(beginning) for factor in tried):
            names = ", ".join(f"'{factor.name}'" for factor in tried)
            raise LiftError(f"no setting is called '{beginning}': there are {names}")
    return [factor for factor in tried if not beginnings or factor.name.startswith(tuple(beginnings))]


def rows_of(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each setting: its mean F1 over the documents beside the recipe's, and their difference."""
    rows: list[dict[str, Any]] = []
    for name in names:
        ours, peer = ([float(row[column]) for row in found] for column in (name, AS_IT_IS))
        low, high = interval([one - two for one, two in zip(ours, peer, strict=True)])
        rows.append(
            {
                "name": f"{name}; peer: {AS_IT_IS}",
                "unit": "F1",
                "n": len(found),
                "ours": fmean(ours),
                "peer": fmean(peer),
                "difference": fmean(ours) - fmean(peer),
                "low": low,
                "high": high,
                "pairs": round(fmean(row[_pairs(name)] for row in found)),
                "peer pairs": round(fmean(row[_pairs(AS_IT_IS)] for row in found)),
            }
        )
    return rows


def _measure(
    excerpt: Excerpt,
    recipe: Recipe,
    tried: Sequence[Factor],
    settings: Settings,
    pool: Executor,
    said: Callable[[str, int], None],
) -> dict[str, Any]:
    """A document's row: the F1 of each adapter, and how many pairs it learned."""
    row: dict[str, Any] = {"name": excerpt.title, "n": len(excerpt.questions)}
    said("writing pairs", 0)
    own = write_pairs(excerpt, recipe, settings)
    under_way: dict[Future[float], str] = {}
    for factor in [Factor(AS_IT_IS, recipe), *tried]:
        if factor.pairs == "new":
            said(f"{factor.name}: writing pairs", sum(each.done() for each in under_way))
            pairs = write_pairs(excerpt, factor.recipe, settings).kept
        else:
            pairs = chosen(own, factor)
        row[_pairs(factor.name)] = len([pair for pair in pairs if not pair.held_out])
        under_way[pool.submit(f1_of, excerpt, pairs, factor.recipe, settings)] = factor.name
    said("learning and asking", sum(each.done() for each in under_way))
    for number, each in enumerate(as_completed(under_way), 1):
        row[under_way[each]] = each.result()
        said(f"{under_way[each]}: done", number)
    return row


def chosen(written: Written, factor: Factor) -> list[QAPair]:
    """Which of the recipe's own pairs a factor's adapter learns."""
    if factor.pairs == "checks":
        return written.checked
    if factor.pairs == "all":
        # Without a question or an answer there is nothing to learn.
        return [
            each.pair for each in written.judged if each.pair.question.strip() and each.pair.answer.strip()
        ]
    return written.kept


# --- the processes that learn -----------------------------------------------------------------

_backbone: Backbone | None = None
"""Of such a process."""


@contextmanager
def learners(recipe: Recipe, settings: Settings) -> Iterator[Executor]:
    """Processes that run :func:`f1_of`, one thread each; on a GPU one process. Its end ends what they do."""
    import torch

    count = 1 if torch.cuda.is_available() else min(_MOST_AT_ONCE, len(usable_cores()))
    pool = ProcessPoolExecutor(
        count,
        # A fork would inherit torch's threads, which do not work in it.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(base_model_folder(recipe, settings), recipe.training.precision),
    )
    before = set(multiprocessing.active_children())
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            # The trainer answers SIGTERM by saving first.
            child.kill()


def _begin(base: Path, precision: str) -> None:
    import torch

    global _backbone
    # Ctrl-C is the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _backbone = Backbone(base, precision)


def f1_of(excerpt: Excerpt, pairs: Sequence[QAPair], recipe: Recipe, settings: Settings) -> float:
    """Mean closed-book F1 of an adapter that learns the pairs; in a process of :func:`learners`."""
    if _backbone is None:
        raise RuntimeError("this process has no base model: it is not one of the learners'")
    learned, _ = learn(excerpt, pairs, recipe, _backbone)
    return score(excerpt, recipe, settings, learned, lambda _: None)


def _pairs(name: str) -> str:
    return f"pairs, {name}"


def _changed(recipe: Recipe, part: str, **settings: Any) -> Recipe:
    """The recipe with other settings in one of its parts, checked as one from a file."""
    whole = recipe.model_dump()
    return Recipe.model_validate(whole | {part: whole[part] | settings})

"""Benchmark ``routing``: does a question find the adapter that knows its answer, and how often?

Articles of public question-answering sets become documents of a registry of their own. What is indexed are
the pairs that the pipeline's generator writes about their first paragraphs; what is asked are the questions
that people wrote about the same paragraphs, which the index has never seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text

from lift_core.benchmarks.registry_data import scratch_database
from lift_core.benchmarks.report import Report
from lift_core.documents import split
from lift_core.errors import LiftError, ServiceUnavailableError
from lift_core.recipes import load_recipe
from lift_core.records import Arrival, QAPair, Recipe
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.synthesis import write_pairs

TOPS = (1, 3)
_AT_ONCE = 4
"""Documents that pairs are written for at once: one has too few segments to keep a server busy."""
_RESAMPLES = 2000
_CONFIDENCE = 0.95
_PROSE = 200
"""Characters. A shorter paragraph is a heading, a line of authors, a caption."""
_BUCKET = "bench"
_TAUGHT_SET = "squad_dev"
_KEPT_BACK = 10

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class QuestionSet:
    """A public set, how many of its documents are taken, and how many paragraphs of each."""

    name: str
    documents: int
    paragraphs: int
    begins: tuple[str, ...] = ()
    """Where the text begins, after the lines of a database; the first of these that is there."""


# LooGLE's public sample has three documents: too few for an interval over documents.
SETS = (
    QuestionSet("squad_dev", documents=48, paragraphs=2),
    QuestionSet("covidqa", documents=92, paragraphs=1, begins=("Abstract:", "Text:")),
    QuestionSet("fairytaleqa", documents=80, paragraphs=1),
)
QUICK_DOCUMENTS = 12


@dataclass(frozen=True)
class Article:
    """One document of the registry, and the questions that it should be found by."""

    set: str
    doc_id: str
    title: str
    text: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """How many of an article's questions found it among the first one and the first three."""

    article: Article
    hits: dict[int, int]


Finder = Callable[[str], Sequence[str]]


def run(
    settings: Settings,
    data: Path,
    *,
    quick: bool,
    with_generator: bool,
    cache: Path | None = None,
    on_progress: OnProgress,
) -> Report:
    """Index the sets in the folder ``data`` in a scratch database, ask, and drop the database.

    ``with_generator``: the embedded recipe's generator writes the pairs, else the profile ``cloze``. What a
    generator wrote is kept in the folder ``cache`` and not written again. ``quick``: fewer documents.
    ``on_progress`` gets the phase, how much of it is done, and how much there is.

    Raises:
        LiftError: a set is missing, or the role of ``LIFT_DATABASE_URL`` may not create databases.
        ServiceUnavailableError: no registry is named, or its server or the generator does not answer.
        RecipeError: the generator refuses the recipe's model.
    """
    url = settings.database_url.get_secret_value()
    if not url:
        raise ServiceUnavailableError("no registry is named: run `lift up`, or set LIFT_DATABASE_URL")
    articles = [article for each in SETS for article in read_articles(data, each, quick=quick)]
    recipe = load_recipe("embedded" if with_generator else "smoke")
    pairs = asyncio.run(_pairs_of_all(articles, recipe, settings, cache, on_progress))
    with scratch_database(url) as engine:
        found = measure(engine, articles, pairs, on_progress)
    return Report(
        name="routing",
        settings={
            "pairs by": recipe.generator.model if with_generator else "cloze, no model",
            "documents": len(articles),
            "segments": sum(len(split(article.text, recipe.segmentation)) for article in articles),
            "pairs": sum(len(each) for each in pairs),
            "questions": sum(len(article.questions) for article in articles),
            "interval": f"{_CONFIDENCE:.0%}, bootstrap over documents",
        },
        rows=rows_of(found),
    )


def measure(
    engine: Engine, articles: Sequence[Article], pairs: Sequence[Sequence[QAPair]], on_progress: OnProgress
) -> dict[str, list[Found]]:
    """What our search finds, what it finds with parts of the index, and what ``ts_rank`` finds."""
    registry = AdapterRegistry(engine)
    registry.upgrade()
    names = []
    for number, article in enumerate(articles):
        names.append(_serve(registry, number, article))
        on_progress("making adapters", number + 1, len(articles))
    variants: dict[str, Callable[[Sequence[QAPair]], list[QAPair]]] = {
        "titles only": lambda _: [],
        "questions only": lambda found: [pair.model_copy(update={"answer": ""}) for pair in found],
        "ours": list,
    }
    found = {}
    for variant, part in variants.items():
        for name, written in zip(names, pairs, strict=True):
            registry.index_adapter(name, part(written))
        found[variant] = _ask(variant, articles, names, _ours(registry), on_progress)
    with engine.begin() as connection:
        _fill_plain_index(connection, articles, names, pairs)
    with engine.connect() as connection:
        found["ts_rank"] = _ask("ts_rank", articles, names, _plain(connection), on_progress)
    return found


# --- documents and questions ----------------------------------------------------------------


def read_articles(data: Path, chosen: QuestionSet, *, quick: bool = False) -> list[Article]:
    """The documents of a set, cut to their first paragraphs, with the questions about those.

    Where a set does not say which paragraph a question is about, it is one of ours if an answer of it
    stands there and nowhere else in the document.

    Raises:
        LiftError: the set is not in the folder.
    """
    path = data / f"{chosen.name}.jsonl"
    if not path.is_file():
        raise LiftError(
            f"{path} is missing: the benchmark needs the public set '{chosen.name}' in that folder"
        )
    documents = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    ranked = sorted(documents, key=lambda document: _hash(document["doc_id"]))
    some = ranked[: min(QUICK_DOCUMENTS, chosen.documents) if quick else chosen.documents]
    return [_article(chosen, document) for document in some]


def _article(chosen: QuestionSet, document: dict[str, Any]) -> Article:
    if "paragraph_spans" in document:
        spans = document["paragraph_spans"][: chosen.paragraphs]
        kept = document["context"][: spans[-1][1]]
        asked = [each for each in document["qas"] if each["paragraph"] < len(spans)]
    else:
        paragraphs = list(_prose(document["text"], chosen.begins))
        kept = "\n\n".join(paragraphs[: chosen.paragraphs])
        here, rest = _flat(kept), _flat(" ".join(paragraphs[chosen.paragraphs :]))
        asked = [
            each
            for each in document["qas"]
            if any(_flat(answer) in here and _flat(answer) not in rest for answer in each["answers"])
        ]
    return Article(
        set=chosen.name,
        doc_id=document["doc_id"],
        title=document["title"].replace("_", " "),
        text=kept,
        questions=tuple(each["question"] for each in asked),
    )


def _prose(words: str, begins: Sequence[str]) -> Iterator[str]:
    start = next((words.find(mark) for mark in begins if mark in words), 0)
    for paragraph in re.split(r"\n\s*\n", words[start:]):
        if len(paragraph) >= _PROSE:
            yield paragraph


def _flat(words: str) -> str:
    return " ".join(words.split())


def kept_back(doc_ids: Sequence[str]) -> set[str]:
    """The articles that the embedded generator was never taught (``lift_core.stack.teaching`` chose)."""
    return set(sorted(doc_ids, key=_hash)[:_KEPT_BACK])


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()


# --- pairs ------------------------------------------------------------------------------------


async def _pairs_of_all(
    articles: Sequence[Article],
    recipe: Recipe,
    settings: Settings,
    cache: Path | None,
    on_progress: OnProgress,
) -> list[list[QAPair]]:
    turn = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def write(article: Article) -> list[QAPair]:
        nonlocal done
        async with turn:
            found = await pairs_of(article, recipe, settings, cache)
        done += 1
        on_progress("writing pairs", done, len(articles))
        return found

    return list(await asyncio.gather(*(write(article) for article in articles)))


async def pairs_of(article: Article, recipe: Recipe, settings: Settings, cache: Path | None) -> list[QAPair]:
    """The pairs about an article that pass the gate; a generator is not asked twice for the same ones."""
    key = _hash(json.dumps([recipe.digest, article.title, article.text]))
    kept_at = cache / f"{key}.json" if cache is not None and recipe.generator.profile != "cloze" else None
    if kept_at is not None and kept_at.is_file():
        return [QAPair.model_validate(each) for each in json.loads(kept_at.read_text("utf-8"))]
    pairs = [
        each.pair
        async for _, judged in write_pairs(
            title=article.title,
            text=article.text,
            segments=split(article.text, recipe.segmentation),
            recipe=recipe,
            settings=settings,
        )
        for each in judged
        if each.kept
    ]
    if kept_at is not None:
        kept_at.parent.mkdir(parents=True, exist_ok=True)
        whole = kept_at.with_suffix(".part")
        whole.write_text(
            json.dumps([pair.model_dump() for pair in pairs], ensure_ascii=False, indent=1), "utf-8"
        )
        whole.replace(kept_at)
    return pairs


# --- asking -----------------------------------------------------------------------------------


def _serve(registry: AdapterRegistry, number: int, article: Article) -> str:
    """Make an adapter, of which the registry alone knows, that answers for the article."""
    recipe = load_recipe("smoke")
    key = f"{article.set}-{number:03d}.md"
    arrival = Arrival(
        bucket=_BUCKET, key=key, etag=_hash(key), size=len(article.text), arrived_at=datetime.now(UTC)
    )
    registry.record_arrivals([arrival], recipe)
    job = registry.newest_job(_BUCKET, key, recipe.digest)
    registry.admit_job(job.job_id)
    claim = registry.claim(job.run_id)
    registry.settle(claim.job_id, _hash(key), article.title)
    lease = registry.acquire(claim.job_id, "train", "benchmark")
    adapter = registry.register_candidate(
        lease, f"jobs/{claim.job_id}/", {"adapter_model.safetensors": _hash(key)}, {}
    )
    registry.record_proof(registry.acquire(claim.job_id, "prove", "benchmark"), adapter.name, {})
    return registry.activate(adapter.name).name


def _ask(
    variant: str, articles: Sequence[Article], names: Sequence[str], finder: Finder, on_progress: OnProgress
) -> list[Found]:
    found = []
    for number, (article, name) in enumerate(zip(articles, names, strict=True)):
        answers = [finder(question) for question in article.questions]
        found.append(Found(article, {top: sum(name in some[:top] for some in answers) for top in TOPS}))
        on_progress(f"asking, {variant}", number + 1, len(articles))
    return found


def _ours(registry: AdapterRegistry) -> Finder:
    return lambda question: [match.adapter for match in registry.which_adapters(question, max(TOPS))]


def _fill_plain_index(
    connection: Connection,
    articles: Sequence[Article],
    names: Sequence[str],
    pairs: Sequence[Sequence[QAPair]],
) -> None:
    connection.execute(text("CREATE TABLE plain (adapter text PRIMARY KEY, words tsvector NOT NULL)"))
    connection.execute(
        text("INSERT INTO plain VALUES (:adapter, to_tsvector('english', :words))"),
        [
            {
                "adapter": name,
                "words": "\n".join([article.title, *(f"{pair.question} {pair.answer}" for pair in written)]),
            }
            for article, name, written in zip(articles, names, pairs, strict=True)
        ],
    )


def _plain(connection: Connection) -> Finder:
    """What PostgreSQL offers by itself: any word of the question matches, ``ts_rank`` puts in order."""
    query = text(
        "SELECT adapter FROM plain, "
        "(SELECT replace(plainto_tsquery('english', :question)::text, '&', '|')::tsquery AS q) asked "
        "WHERE words @@ q ORDER BY ts_rank(words, q) DESC, adapter LIMIT :limit"
    )
    return lambda question: [
        str(name) for name in connection.execute(query, {"question": question, "limit": max(TOPS)}).scalars()
    ]


# --- figures ----------------------------------------------------------------------------------


def rows_of(found: dict[str, list[Found]]) -> list[dict[str, object]]:
    """The report's rows: of every set, and of all together, the share of questions that found their article.

    ``low`` and ``high`` bound ours; the other columns are the same share by other means.
    """
    ids = {each.article.doc_id for each in found["ours"] if each.article.set == _TAUGHT_SET}
    untaught = kept_back(sorted(ids))
    groups: dict[str, Callable[[Article], bool]] = {"all": lambda _: True}
    for chosen in SETS:
        groups[chosen.name] = lambda article, name=chosen.name: article.set == name  # type: ignore[misc]
    groups[f"{_TAUGHT_SET}, articles that the embedded generator was never taught"] = lambda article: (
        article.set == _TAUGHT_SET and article.doc_id in untaught
    )
    rows: list[dict[str, object]] = []
    for group, belongs in groups.items():
        for top in TOPS:
            counts = {
                variant: [
                    (each.hits[top], len(each.article.questions)) for each in some if belongs(each.article)
                ]
                for variant, some in found.items()
            }
            shares = {variant: round(share(some), 4) for variant, some in counts.items()}
            low, high = interval(counts["ours"])
            rows.append(
                {
                    "name": f"{group}: top {top}",
                    "unit": "share",
                    "n": sum(of for _, of in counts["ours"]),
                    "documents": len(counts["ours"]),
                    "ours": shares.pop("ours"),
                    "low": round(low, 4),
                    "high": round(high, 4),
                    **shares,
                }
            )
    return rows


def share(counts: Sequence[tuple[int, int]]) -> float:
    """Hits by questions over all documents; 0 where nothing was asked."""
    return sum(hits for hits, _ in counts) / max(1, sum(of for _, of in counts))


def interval(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Bounds of the share: documents are drawn anew, with all their questions, again and again."""
    dice = random.Random(0)  # noqa: S311 - every run draws the same
    drawn = sorted(share(dice.choices(counts, k=len(counts))) for _ in range(_RESAMPLES)) if counts else [0.0]
    outside = int(len(drawn) * (1 - _CONFIDENCE) / 2)
    return drawn[outside], drawn[-1 - outside]

"""Benchmark ``gate``: of pairs with a known fault, how many does the quality gate reject, and of good ones?

Two labelled sets go through the gate that a recipe describes. In the planted one, code put a fault into
pairs that people wrote (``gate_faults``); the judged one holds what the embedded generator really wrote, as
one person judged it (``docs/benchmarks/gate_judged.jsonl``). Every document has a gate of its own, and its
pairs come in document order, as in the pipeline.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from openai import APIConnectionError, AsyncOpenAI, OpenAIError

from lift_core.benchmarks.gate_faults import PER_FAULT, plant
from lift_core.benchmarks.gate_figures import CONFIDENCE, Case, rows_of
from lift_core.benchmarks.gate_gold import Split, read_gold, split_of
from lift_core.benchmarks.report import Report
from lift_core.documents import read_text
from lift_core.errors import LiftError
from lift_core.records import JudgedPair, Recipe, Record, Segment
from lift_core.settings import Settings
from lift_core.synthesis.client import ModelClient
from lift_core.synthesis.context import Contexts
from lift_core.synthesis.gate import READING_TEMPERATURE, Gate, read_back
from lift_core.synthesis.profiles import load_profile
from lift_core.synthesis.prompts import read_answer, reading_prompt

SEED = 0
QUICK_PER_FAULT = 8
_READER_TOKENS = 48

OnProgress = Callable[[str, int, int], None]
Ask = Callable[[str], Awaitable[list[str | None]]]


class HandJudged(Record):
    """A line of ``gate_judged.jsonl``: a pair that the generator wrote, and what a person found.

    ``document`` is a file's name; ``start`` and ``end`` are the segment's offsets in its text.
    """

    document: str
    segment: int
    start: int
    end: int
    question: str
    answer: str
    label: Literal["good", "hallucinated", "unanswerable", "wrong", "context-bound", "malformed", "duplicate"]
    why: str


@dataclass(frozen=True)
class Document:
    """A document with its labelled pairs, in the order in which a generator would have written them."""

    title: str
    text: str
    cases: tuple[Case, ...]


def run(
    settings: Settings,
    data: Path,
    documents: Path,
    judged: Path,
    recipe: Recipe,
    *,
    part: Split,
    quick: bool,
    on_progress: OnProgress,
) -> Report:
    """Put both sets through the recipe's gate.

    ``data`` is the folder of public sets, ``documents`` that of the files that ``judged`` speaks of. Where
    the recipe names a reader and its server does not answer, the checks alone are measured, and it is said.

    Raises:
        LiftError: a set or a document is missing, a judged pair lies outside its document, or the reader's
            server refuses.
        ServiceUnavailableError: the reader's server went away meanwhile.
    """
    on_progress("planting", 0, 0)
    per_fault = QUICK_PER_FAULT if quick else PER_FAULT[part]
    taken = _planted(data, part, per_fault) + _judged(documents, judged, part)
    cases, reader = asyncio.run(_through_the_gate(taken, settings, recipe, on_progress))
    digest = hashlib.sha256(repr([replace(each, checks="", all="") for each in cases]).encode()).hexdigest()
    return Report(
        name="gate",
        settings={
            "split": part,
            "recipe's gate": recipe.gate.model_dump_json(exclude_defaults=True),
            "reader": reader,
            "planted pairs": sum(each.kind == "planted" for each in cases),
            "judged pairs": sum(each.kind == "judged" for each in cases),
            "documents": len({each.document for each in cases}),
            "seed": SEED,
            "set": digest[:12],
            "precision": "planted: were there as many good pairs as faulty ones; judged: as they came",
            "interval": f"{CONFIDENCE:.0%}, bootstrap over documents",
        },
        rows=rows_of(cases),
    )


# --- the pairs -------------------------------------------------------------------------------


def _planted(data: Path, part: Split, per_fault: int) -> list[Document]:
    gold = read_gold(data, part)
    cases: dict[str, list[Case]] = {}
    by_id = {each.doc_id: each for each in gold}
    for pair in plant(gold, per_fault=per_fault, seed=SEED):
        case = Case(
            "planted",
            pair.document,
            by_id[pair.document].segments[pair.segment],
            pair.question,
            pair.answer,
            pair.label,
            pair.near,
            by_id[pair.document].seen,
        )
        cases.setdefault(pair.document, []).append(case)
    return [Document(by_id[key].title, by_id[key].text, tuple(some)) for key, some in cases.items()]


def _judged(folder: Path, path: Path, part: Split) -> list[Document]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise LiftError(f"the pairs judged by hand cannot be read from {path}: {error}") from error
    pairs = [
        pair for line in lines if split_of((pair := HandJudged.model_validate_json(line)).document) == part
    ]
    found = []
    for name, some in itertools.groupby(sorted(pairs, key=lambda pair: pair.document), lambda p: p.document):
        file = folder / name
        if not file.is_file():
            raise LiftError(
                f"{file} is missing: pairs about it were judged; name the folder with --documents"
            )
        title, text = read_text(file.read_bytes(), name)
        found.append(Document(title, text, tuple(_case(pair, text) for pair in some)))
    return found


def _document_of(pair: HandJudged) -> str:
    return pair.document


def _case(pair: HandJudged, text: str) -> Case:
    if not 0 <= pair.start < pair.end <= len(text):
        raise LiftError(
            f"'{pair.document}' has no characters {pair.start} to {pair.end}: it is another version"
        )
    segment = Segment(number=pair.segment, start=pair.start, end=pair.end, text=text[pair.start : pair.end])
    return Case("judged", pair.document, segment, pair.question, pair.answer, pair.label)


# --- the gate --------------------------------------------------------------------------------


async def _through_the_gate(
    documents: Sequence[Document], settings: Settings, recipe: Recipe, on_progress: OnProgress
) -> tuple[list[Case], str]:
    """All cases with the gate's verdicts, and who read."""
    client, reader = await _reader(settings, recipe)
    done = 0

    async def one(document: Document) -> list[Case]:
        nonlocal done
        found = await judge_document(document, recipe, client)
        done += 1
        on_progress("documents", done, len(documents))
        return found

    try:
        found = await asyncio.gather(*map(one, documents))
    finally:
        if client is not None:
            await client.close()
    return [case for some in found for case in some], reader


async def _reader(settings: Settings, recipe: Recipe) -> tuple[ModelClient | None, str]:
    """The client of the recipe's reader, if there is one and its server answers, and that in words."""
    if not recipe.gate.reader:
        return None, "none: the recipe names none"
    url, secret = (
        (settings.reader_url, settings.reader_api_key)
        if settings.reader_url
        else (settings.generator_url, settings.generator_api_key)
    )
    if not url:
        return None, "none: no server is named, the checks alone are measured"
    key = secret.get_secret_value()
    try:
        async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=10) as server:
            await server.models.list()
    except APIConnectionError as error:
        return (
            None,
            f"none: its server is away ({type(error).__name__}), the checks alone are measured",
        )
    except OpenAIError as error:
        raise LiftError(
            f"the reader's server at {url} refuses to be asked ({error}): "
            "check LIFT_READER_API_KEY or LIFT_GENERATOR_API_KEY"
        ) from error
    client = ModelClient(url, key, recipe.gate.reader, concurrency=settings.generator_concurrency)
    return client, recipe.gate.reader


async def judge_document(document: Document, recipe: Recipe, client: ModelClient | None) -> list[Case]:
    """A document's cases with the gate's verdicts; without a ``client`` nobody reads."""
    segments = {case.segment.number: case.segment for case in document.cases}
    contexts = Contexts(document.text, [segments[number] for number in sorted(segments)], recipe.generator)
    checks, everything = Gate(recipe, document.title), Gate(recipe, document.title)
    found: list[Case] = []
    for number in sorted(segments):
        cases = [case for case in document.cases if case.segment.number == number]
        before = " ".join(contexts.before(segments[number]).split())
        own = " ".join(segments[number].text.split())
        judged = checks.check(number, f"{before} {own}", [(each.question, each.answer) for each in cases])
        read = judged
        if client is not None:
            ask = _asking(client, recipe, document.title, before, own)
            read = await read_back(
                ask,
                judged,
                agreement=recipe.gate.agreement,
                agreeing_share=recipe.gate.agreeing_share,
            )
        for case, plain, full in zip(cases, checks.settle(judged), everything.settle(read), strict=True):
            found.append(replace(case, checks=_reason(plain), all=_reason(full)))
    return found


def _reason(judged: JudgedPair) -> str:
    return "" if judged.kept else str(judged.reason)


def _asking(client: ModelClient, recipe: Recipe, title: str, context: str, segment: str) -> Ask:
    profile = load_profile("reading", 1)

    async def ask(question: str) -> list[str | None]:
        prompt = reading_prompt(profile, title=title, context=context, segment=segment, question=question)
        said = await client.complete(
            prompt,
            temperature=0.0 if recipe.gate.reads == 1 else READING_TEMPERATURE,
            n=recipe.gate.reads,
            max_tokens=_READER_TOKENS,
            seed=recipe.generator.seed,
        )
        return list(map(read_answer, said))

    return ask

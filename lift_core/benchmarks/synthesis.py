"""Benchmark ``synthesis``: how fast pairs are written, by one vLLM server that all arms ask in turn.

The client is compared with a plain loop over OpenAI's: a semaphore and ``gather``, the same prompts, the
same requests, as many of them at once. What it does besides is part of its time: order, patience, the gate's
checks of each pair. The gate asks nobody here, and asks for nothing again.

The layouts of the context are compared with each other at ``CONTEXT_WORDS`` words, and only where that many
stand before: the document's headings are taken out and its paragraphs joined, as an anchored context begins
anew at a heading and a sliding one at a paragraph. An anchored one then holds between half and all of the
words. That is asked in two ways: with the recipe's completions, and with one alone, where the prompt weighs
most (an instruct model under ``json``).

Each arm of each round puts a random word before the title, which comes first in a prompt: what the server's
prefix cache holds of others is of no use to it. Cache hits are the server's own count (``/metrics``), so
nobody else should ask it meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import AsyncOpenAI

from lift_core.benchmarks.report import Report
from lift_core.documents import read_document, split
from lift_core.errors import LiftError, RecipeError, ServiceUnavailableError
from lift_core.records import GateRecipe, GeneratorRecipe, Recipe, Segment
from lift_core.settings import Settings
from lift_core.synthesis.context import HEADING, Contexts
from lift_core.synthesis.profiles import load_profile
from lift_core.synthesis.prompts import (
    Prompt,
    asking_prompt,
    choosing_prompt,
    read_answers,
    read_pairs,
    read_question,
    writing_prompt,
)
from lift_core.synthesis.writing import PairWriter

CONTEXT_WORDS = 340
"""About 2,000 characters, as the paper's prompts have before a sentence (arXiv 2502.14644)."""
ROUNDS, SEGMENTS = 5, 96
QUICK_ROUNDS, QUICK_SEGMENTS = 2, 24
_FEWEST_SEGMENTS = 8
_SECONDS = 10.0
_COUNTERS = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Document:
    """What all arms write pairs about: ``numbers`` are those of the segments that are taken."""

    title: str
    text: str
    segments: Sequence[Segment]
    numbers: range


@dataclass(frozen=True)
class Arm:
    """One way of writing the pairs of a document; a ``plain`` one is the loop over OpenAI's client."""

    generator: GeneratorRecipe
    plain: bool = False


@dataclass(frozen=True)
class Comparison:
    """Two arms that run side by side in every round."""

    name: str
    ours: Arm
    peer: Arm


@dataclass(frozen=True)
class Run:
    """What one arm did in one round; tokens are the server's, None where it does not count them."""

    seconds: float
    segments: int
    pairs: int
    prompt_tokens: int | None
    cached_tokens: int | None


def run(
    settings: Settings,
    file: Path,
    recipe: Recipe,
    *,
    quick: bool,
    rounds: int = ROUNDS,
    segments: int = SEGMENTS,
    on_progress: Progress,
) -> Report:
    """Measure with the recipe's generator, on one document; its server must be up.

    Each arm runs ``rounds`` times over at most so many ``segments``; ``quick`` has fewer of both.
    ``on_progress`` gets what is under way, how many runs are done, and how many there are.

    Raises:
        ServiceUnavailableError: the generator's server does not answer.
        LiftError: it does not serve the recipe's model, or the document is too short.
    """
    _check_server(settings, recipe.generator)
    rounds, most = (QUICK_ROUNDS, QUICK_SEGMENTS) if quick else (rounds, segments)
    document = _document(settings, file, recipe, most)
    compared = comparisons(recipe.generator)
    found: dict[Comparison, list[tuple[Run, Run]]] = {each: [] for each in compared}
    total = 2 * rounds * len(compared)

    on_progress("warming up", 0, total)
    _measure(settings, document, compared[0].ours)
    done = 0
    for number in range(rounds):
        for comparison in compared:
            runs: dict[Arm, Run] = {}
            pair = (comparison.ours, comparison.peer)
            # Which comes first changes with every round.
            for arm in pair if number % 2 == 0 else pair[::-1]:
                on_progress(comparison.name, done, total)
                runs[arm] = _measure(settings, document, arm)
                done += 1
            found[comparison].append((runs[comparison.ours], runs[comparison.peer]))
    return Report(
        name="synthesis",
        settings={
            "document": file.name,
            "segments": len(document.numbers),
            "generator": recipe.generator.model,
            "profile": recipe.generator.profile,
            "completions a segment": recipe.generator.greedy_samples + recipe.generator.sampled,
            "at once": settings.generator_concurrency,
            "rounds": rounds,
        },
        rows=[row for comparison, runs in found.items() for row in rows_of(comparison.name, runs)],
    )


def comparisons(generator: GeneratorRecipe) -> list[Comparison]:
    """What is compared, for a recipe's generator."""

    def with_layout(layout: str, **more: int) -> Arm:
        changed = {"context_layout": layout, "context_words": CONTEXT_WORDS} | more
        return Arm(GeneratorRecipe.model_validate(own | changed))

    # Pairs that need a whole section are asked for otherwise, and not in the plain loop.
    own = generator.model_dump() | {"global_pairs": 0}
    as_it_is = GeneratorRecipe.model_validate(own)
    one = {"greedy_samples": 1, "sampled": 0}
    words = f"of {CONTEXT_WORDS} words"
    return [
        Comparison("client; peer: plain loop", Arm(as_it_is), Arm(as_it_is, plain=True)),
        Comparison(
            f"anchored context {words}; peer: sliding", with_layout("anchored"), with_layout("sliding")
        ),
        Comparison(
            f"anchored context {words}, one completion; peer: sliding",
            with_layout("anchored", **one),
            with_layout("sliding", **one),
        ),
    ]


def rows_of(name: str, runs: Sequence[tuple[Run, Run]]) -> list[dict[str, Any]]:
    """The report's rows of one comparison: medians over the rounds of ours and the peer, larger is better.

    ``ratio`` is ours to theirs, the median of the rounds' ratios; ``cached`` is a share of prompt tokens.
    """
    rows = []
    for unit, count in (("segments/s", "segments"), ("pairs/s", "pairs")):
        ours, peer = ([getattr(each[side], count) / each[side].seconds for each in runs] for side in (0, 1))
        ratios = [one / other for one, other in zip(ours, peer, strict=True) if other]
        rows.append(
            {
                "name": name,
                "unit": unit,
                "n": len(runs),
                "ours": round(statistics.median(ours), 3),
                "peer": round(statistics.median(peer), 3),
                "ratio": round(statistics.median(ratios), 3) if ratios else None,
                "ratio min": round(min(ratios), 3) if ratios else None,
                "ratio max": round(max(ratios), 3) if ratios else None,
                "pairs": sum(each.pairs for each, _ in runs),
                "peer pairs": sum(each.pairs for _, each in runs),
                "cached": _cached([each for each, _ in runs]),
                "peer cached": _cached([each for _, each in runs]),
                "prompt tokens a segment": _prompt_tokens([each for each, _ in runs]),
                "peer prompt tokens a segment": _prompt_tokens([each for _, each in runs]),
            }
        )
    return rows


def _cached(runs: Sequence[Run]) -> float | None:
    asked = sum(each.prompt_tokens or 0 for each in runs)
    return round(sum(each.cached_tokens or 0 for each in runs) / asked, 3) if asked else None


def _prompt_tokens(runs: Sequence[Run]) -> int | None:
    asked = sum(each.prompt_tokens or 0 for each in runs)
    return round(asked / sum(each.segments for each in runs)) if asked else None


# --- the arms ---------------------------------------------------------------------------------


def _measure(settings: Settings, document: Document, arm: Arm) -> Run:
    title = f"{secrets.token_hex(4)} {document.title}"
    write = _plain_loop if arm.plain else _client
    before = _counters(settings)
    began = time.monotonic()
    pairs = asyncio.run(write(settings, document, title, arm.generator))
    seconds = time.monotonic() - began
    after = _counters(settings)
    asked, cached = (after[name] - before[name] if before and after else None for name in _COUNTERS)
    return Run(seconds, len(document.numbers), pairs, asked, cached)


async def _client(settings: Settings, document: Document, title: str, generator: GeneratorRecipe) -> int:
    """How many pairs the pipeline's own writer writes, kept ones and others."""
    writer = PairWriter(
        title=title,
        text=document.text,
        segments=document.segments,
        recipe=Recipe(generator=generator, gate=GateRecipe()),
        settings=settings,
    )
    async with writer:
        return sum([len(judged) async for _, judged in writer.pairs(only=document.numbers)])


async def _plain_loop(settings: Settings, document: Document, title: str, generator: GeneratorRecipe) -> int:
    """How many pairs a loop writes as one writes it who knows OpenAI's client and asyncio."""
    contexts = Contexts(document.text, document.segments, generator)
    profile = load_profile(generator.profile, generator.profile_version)
    slots = asyncio.Semaphore(settings.generator_concurrency)
    key = settings.generator_api_key.get_secret_value()
    async with AsyncOpenAI(base_url=settings.generator_url, api_key=key) as client:

        async def complete(prompt: Prompt, segment: Segment, drawn: int) -> list[str]:
            texts: list[str] = []
            async with slots:
                if generator.greedy_samples:
                    texts += await _ask(client, prompt, generator, segment.number, n=1, temperature=0.0)
                if drawn:
                    sampling = {"temperature": generator.temperature, "top_p": generator.top_p}
                    texts += await _ask(client, prompt, generator, segment.number, n=drawn, **sampling)
            return texts

        async def pairs_of(segment: Segment) -> int:
            seen = {"title": title, "context": contexts.before(segment), "segment": segment.text}
            if not profile.choosing:
                prompt = writing_prompt(profile, **seen, pairs=generator.pairs)
                texts = await complete(prompt, segment, generator.sampled)
                return sum(len(read_pairs(profile, text)) for text in texts)
            lists = generator.pairs - (1 if generator.greedy_samples else 0)
            named = await complete(choosing_prompt(profile, **seen), segment, lists)
            asked = await asyncio.gather(
                *(
                    complete(asking_prompt(profile, **seen, answer=answer), segment, generator.sampled)
                    for answer in read_answers(named, segment.text)[: generator.pairs]
                )
            )
            return sum(len(set(map(read_question, questions))) for questions in asked)

        taken = [each for each in document.segments if each.number in document.numbers]
        return sum(await asyncio.gather(*map(pairs_of, taken)))


async def _ask(
    client: AsyncOpenAI, prompt: Prompt, generator: GeneratorRecipe, segment: int, **sampling: Any
) -> list[str]:
    body = {
        "model": generator.model,
        "max_tokens": generator.max_tokens,
        "seed": generator.seed + segment,
        **sampling,
    }
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if not prompt.messages:
        reply = await client.completions.create(prompt=prompt.text, **body)
        return [choice.text for choice in reply.choices]
    if prompt.json_schema is not None:
        form = {"name": "answer", "strict": True, "schema": prompt.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    messages: Any = prompt.messages
    answer = await client.chat.completions.create(messages=messages, **body)
    return [choice.message.content or "" for choice in answer.choices]


# --- the document and the server --------------------------------------------------------------


def _document(settings: Settings, file: Path, recipe: Recipe, most: int) -> Document:
    read = read_document(file.read_bytes(), file.name, converter=recipe.converter, settings=settings)
    text = re.sub(r"\n\n+", "\n", HEADING.sub("", read.text)).strip()
    segments = split(text, recipe.segmentation)
    contexts = Contexts(text, segments, GeneratorRecipe(context_words=CONTEXT_WORDS))
    far_in = [each.number for each in segments if len(contexts.before(each).split()) == CONTEXT_WORDS]
    if len(far_in) < _FEWEST_SEGMENTS:
        raise LiftError(
            f"{file.name} is too short: {len(far_in)} segments have {CONTEXT_WORDS} words before them, "
            f"and {_FEWEST_SEGMENTS} are needed"
        )
    return Document(read.title, text, segments, range(far_in[0], min(far_in[0] + most, len(segments))))


def _check_server(settings: Settings, generator: GeneratorRecipe) -> None:
    if generator.profile == "cloze":
        raise RecipeError("the recipe asks no model for pairs: name another recipe in LIFT_RECIPE")
    if not settings.generator_url:
        raise ServiceUnavailableError("no generator is named: run `lift up`, or set LIFT_GENERATOR_URL")
    key = settings.generator_api_key.get_secret_value()
    url = f"{settings.generator_url.rstrip('/')}/models"
    try:
        reply = httpx.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=_SECONDS)
        reply.raise_for_status()
        models = [each["id"] for each in reply.json()["data"]]
    except httpx.HTTPError as error:
        raise ServiceUnavailableError(
            f"the generator at {settings.generator_url} does not answer ({error}): run `lift up`, "
            "or check LIFT_GENERATOR_URL and LIFT_GENERATOR_API_KEY"
        ) from error
    if generator.model not in models:
        raise RecipeError(
            f"the generator at {settings.generator_url} serves {', '.join(models)}, not the recipe's "
            f"'{generator.model}'"
        )


def _counters(settings: Settings) -> Mapping[str, int] | None:
    """Prompt tokens that the server looked up in its prefix cache and found there; None: it does not say."""
    url = f"{settings.generator_url.rstrip('/').removesuffix('/v1')}/metrics"
    reply = httpx.get(url, timeout=_SECONDS)
    found = {
        name: re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", reply.text, re.MULTILINE) for name in _COUNTERS
    }
    if reply.is_error or not all(found.values()):
        return None
    return {name: round(sum(map(float, values))) for name, values in found.items()}

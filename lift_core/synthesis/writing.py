"""Every segment's judged pairs, in document order, with a bounded number of requests under way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

from lift_core.records import JudgedPair, Recipe, Segment
from lift_core.settings import Settings
from lift_core.synthesis.client import GeneratorClient
from lift_core.synthesis.cloze import cloze_pairs
from lift_core.synthesis.gate import Gate
from lift_core.synthesis.prompts import context_before, lines_prompt, read_lines

Writer = Callable[[Segment], Coroutine[None, None, list[tuple[str, str]]]]


async def write_pairs(
    *,
    title: str,
    text: str,
    segments: Sequence[Segment],
    recipe: Recipe,
    settings: Settings,
    first_segment: int = 0,
    seen: set[str] | None = None,
) -> AsyncIterator[tuple[Segment, list[JudgedPair]]]:
    """Yield each segment from ``first_segment`` on with its judged pairs.

    ``seen`` are the normalised questions of segments that were committed before.

    Raises:
        ServiceUnavailableError: the generator stayed away.
        RecipeError: the generator refuses the recipe's model.
    """
    gate = Gate(recipe, seen if seen is not None else set())
    todo = [segment for segment in segments if segment.number >= first_segment]

    if recipe.generator.profile == "cloze":
        for segment in todo:
            yield segment, gate.judge(segment.number, segment.text, cloze_pairs(title, segment))
        return

    client = GeneratorClient(settings, recipe.generator)

    async def write(segment: Segment) -> list[tuple[str, str]]:
        context = context_before(text, segment.start, recipe.generator.context_words)
        prompt = lines_prompt(title, context, " ".join(segment.text.split()))
        completions = await client.completions(prompt, recipe.generator.seed + segment.number)
        return [pair for completion in completions for pair in read_lines(completion)]

    try:
        async for segment, found in _in_order(todo, write, settings.generator_concurrency):
            context = context_before(text, segment.start, recipe.generator.context_words)
            yield segment, gate.judge(segment.number, f"{context} {segment.text}", found)
    finally:
        await client.close()


async def _in_order(
    segments: Sequence[Segment], write: Writer, window: int
) -> AsyncIterator[tuple[Segment, list[tuple[str, str]]]]:
    """Run ``write`` for up to ``window`` segments at once; yield the results in order."""
    waiting: deque[tuple[Segment, asyncio.Task[list[tuple[str, str]]]]] = deque()
    upcoming = iter(segments)
    try:
        while True:
            while len(waiting) < window and (segment := next(upcoming, None)) is not None:
                waiting.append((segment, asyncio.create_task(write(segment))))
            if not waiting:
                return
            segment, task = waiting.popleft()
            yield segment, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

"""A document's judged pairs, in document order, with a bounded number of segments under way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType

from lift_core.records import GenerationCost, JudgedPair, PairReport, Recipe, Segment
from lift_core.settings import Settings
from lift_core.synthesis.cloze import cloze_pairs
from lift_core.synthesis.context import Contexts
from lift_core.synthesis.drafting import Drafting
from lift_core.synthesis.faithfulness import estimate_faithfulness
from lift_core.synthesis.gate import Gate
from lift_core.synthesis.models import Models
from lift_core.synthesis.report import report_of

_Drafts = tuple[list[JudgedPair], ...]
"""A segment's pairs and, at a section's end, the section's: judged but not yet settled."""
_WINDOW = 4
"""Segments under way for each request that may be, so that requests go on while the first segment is slow.
docs/log.md has the figures."""


class PairWriter:
    """Writes the pairs of one document and reports on them; an async context manager.

    ``text`` is the whole document, ``segments`` are all of it.

    Raises:
        ServiceUnavailableError: the settings name no server for a model that the recipe names.
    """

    def __init__(
        self, *, title: str, text: str, segments: Sequence[Segment], recipe: Recipe, settings: Settings
    ) -> None:
        self._title = title
        self._text = text
        self._segments = segments
        self._recipe = recipe
        self._at_once = settings.generator_concurrency
        self._contexts = Contexts(text, segments, recipe.generator)
        self._models = None if recipe.generator.profile == "cloze" else Models(recipe, settings, title)
        self._sections: dict[int, Sequence[Segment]] = {}
        if recipe.generator.global_pairs and self._models is not None:
            by_number = {segment.number: segment for segment in segments}
            for numbers in self._contexts.sections():
                self._sections[numbers[-1]] = [by_number[number] for number in numbers]

    async def __aenter__(self) -> PairWriter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._models is not None:
            await self._models.close()

    @property
    def cost(self) -> GenerationCost:
        """What was asked for so far."""
        return GenerationCost() if self._models is None else self._models.cost

    async def pairs(
        self,
        *,
        first_segment: int = 0,
        kept_questions: Iterable[str] = (),
        only: Collection[int] | None = None,
    ) -> AsyncGenerator[tuple[Segment, list[JudgedPair]], None]:
        """Each segment from ``first_segment`` on (those whose numbers are in ``only``) with its judged pairs.

        ``kept_questions`` are those of the segments before, in document order: with them the gate judges as
        if it had seen these segments.

        A caller that may stop before the end closes it (``aclosing``): requests under way end then.

        Raises:
            ServiceUnavailableError: a model's server stayed away for minutes.
            RecipeError: it refuses what the recipe asks for.
        """
        gate = Gate(self._recipe, self._title, kept_questions)
        draft = self._draft(gate)
        todo = [
            segment
            for segment in self._segments
            if segment.number >= first_segment and (only is None or segment.number in only)
        ]
        async with aclosing(_in_order(todo, draft, _WINDOW * self._at_once)) as drafted:
            async for segment, drafts in drafted:
                yield segment, [each for found in drafts for each in gate.settle(found)]

    async def report(self, judged: Sequence[JudgedPair], only: Collection[int] | None = None) -> PairReport:
        """How good these pairs are: those of the whole document, or of the segments in ``only``.

        Raises:
            ServiceUnavailableError: the server that is asked for the faithfulness stayed away for minutes.
            RecipeError: it refuses what the recipe asks for.
        """
        segments = [each for each in self._segments if only is None or each.number in only]
        faithfulness = None
        if self._models is not None:
            faithfulness = await estimate_faithfulness(
                [each.pair for each in judged if each.kept],
                text=self._text,
                segments=segments,
                sections={last: self._source(section) for last, section in self._sections.items()},
                recipe=self._recipe,
                models=self._models,
            )
        return report_of(segments, judged, faithfulness=faithfulness, cost=self.cost)

    def _draft(self, gate: Gate) -> Callable[[Segment], Coroutine[None, None, _Drafts]]:
        if self._models is None:

            async def blank(segment: Segment) -> _Drafts:
                return (gate.check(segment.number, segment.text, cloze_pairs(self._title, segment)),)

            return blank
        drafting = Drafting(self._recipe, gate, self._models, self._contexts)

        async def draft(segment: Segment) -> _Drafts:
            section = self._sections.get(segment.number)
            if section is None:
                return (await drafting.of_segment(segment),)
            return tuple(
                await asyncio.gather(
                    drafting.of_segment(segment), drafting.of_section(segment, self._source(section))
                )
            )

        return draft

    def _source(self, section: Sequence[Segment]) -> str:
        return self._text[section[0].start : section[-1].end]


async def write_pairs(
    *, title: str, text: str, segments: Sequence[Segment], recipe: Recipe, settings: Settings
) -> AsyncGenerator[tuple[Segment, list[JudgedPair]], None]:
    """Each segment of a document with its judged pairs; errors as of :class:`PairWriter`."""
    writer = PairWriter(title=title, text=text, segments=segments, recipe=recipe, settings=settings)
    async with writer, aclosing(writer.pairs()) as pairs:
        async for segment, judged in pairs:
            yield segment, judged


async def _in_order(
    segments: Sequence[Segment], draft: Callable[[Segment], Coroutine[None, None, _Drafts]], window: int
) -> AsyncGenerator[tuple[Segment, _Drafts], None]:
    """Run ``draft`` for up to ``window`` segments at once; yield the results in order."""
    waiting: deque[tuple[Segment, asyncio.Task[_Drafts]]] = deque()
    upcoming = iter(segments)
    try:
        while True:
            while len(waiting) < window and (segment := next(upcoming, None)) is not None:
                waiting.append((segment, asyncio.create_task(draft(segment))))
            if not waiting:
                return
            segment, task = waiting.popleft()
            yield segment, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

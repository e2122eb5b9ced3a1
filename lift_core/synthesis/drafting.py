"""One segment's pairs, from the first request to the last check that needs nothing but the segment."""

from __future__ import annotations

from lift_core.records import JudgedPair, QAPair, Recipe, Segment
from lift_core.synthesis.context import Contexts
from lift_core.synthesis.coverage import untouched
from lift_core.synthesis.gate import READING_TEMPERATURE, Gate, judge, read_back
from lift_core.synthesis.models import Models


class Drafting:
    """Writes and checks the pairs of any segment of a document, several at once.

    What depends on the other segments (near-duplicates, excess, hold-out) is left to :meth:`Gate.settle`.
    Errors of its methods are those of :class:`Models`.
    """

    def __init__(self, recipe: Recipe, gate: Gate, models: Models, contexts: Contexts) -> None:
        self._recipe = recipe
        self._gate = gate
        self._models = models
        self._contexts = contexts

    async def of_segment(self, segment: Segment) -> list[JudgedPair]:
        """Pairs about one segment, judged.

        While no kept pair touches the segment, or one of its names and numbers, the generator is asked again,
        up to ``gate.ask_again`` times.
        """
        judged: list[JudgedPair] = []
        touch: tuple[str, ...] = ()
        for again in range(self._recipe.gate.ask_again + 1):
            context = self._contexts.before(segment)
            found = await self._models.write(
                context=context,
                segment=segment.text,
                seed=self._recipe.generator.seed + segment.number,
                again=again,
                touch=touch,
            )
            judged += await self._checked(segment, context, found)
            kept = [each.pair for each in judged if each.kept]
            touch = untouched(segment.text, kept)
            if kept and not touch:
                break
        return judged

    async def of_section(self, last: Segment, section: str) -> list[JudgedPair]:
        """Pairs that need distant parts of a section together, judged; they belong to its last segment."""
        found = await self._models.write_global(
            section=section, seed=self._recipe.generator.seed + last.number
        )
        judged = self._gate.check(last.number, section, found, whole_section=True)
        return await self._looked_at(judged, context="", segment=section, source=section)

    async def _checked(
        self, segment: Segment, context: str, found: list[tuple[str, str]]
    ) -> list[JudgedPair]:
        source = f"{context} {segment.text}"
        judged = self._gate.check(segment.number, source, found)
        return await self._looked_at(judged, context=context, segment=segment.text, source=source)

    async def _looked_at(
        self, judged: list[JudgedPair], *, context: str, segment: str, source: str
    ) -> list[JudgedPair]:
        """What is still kept, read back by the reader, then shown to the judge, where there are such."""
        seed = self._recipe.generator.seed

        gate = self._recipe.gate

        async def read(question: str) -> list[str | None]:
            return await self._models.read(
                question,
                context=context,
                segment=segment,
                seed=seed,
                n=gate.reads,
                temperature=0.0 if gate.reads == 1 else READING_TEMPERATURE,
            )

        async def ask(pair: QAPair) -> tuple[bool, str]:
            [verdict] = await self._models.judge(pair, source=source, seed=seed)
            return verdict

        if self._models.has_reader:
            judged = await read_back(
                read, judged, agreement=gate.agreement, agreeing_share=gate.agreeing_share
            )
        if self._models.has_judge:
            judged = await judge(ask, judged)
        return judged

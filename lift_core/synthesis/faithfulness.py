"""How many of a document's kept pairs its text supports: a sample of them, looked at a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from lift_core.records import Estimate, QAPair, Recipe, Segment
from lift_core.synthesis.gate.agreement import compare
from lift_core.synthesis.models import Models
from lift_core.synthesis.report import estimate, sample_of

SAMPLE = 64
"""Pairs that are looked at: at 0.95 the 95 % interval is 0.11 wide, at 0.5 it is 0.24."""
LOOKS = 3
TEMPERATURE = 0.7
_WORDS_BEFORE = 250
_CHARACTERS_BEFORE = 4000


async def estimate_faithfulness(
    kept: Sequence[QAPair],
    *,
    text: str,
    segments: Sequence[Segment],
    sections: Mapping[int, str],
    recipe: Recipe,
    models: Models,
) -> Estimate | None:
    """The share of kept pairs that the text supports; None where there are none, or nobody to ask.

    The gate decided by one greedy look at what the generator had seen. This is the majority of three drawn
    looks at the whole paragraph and what precedes it: by the judge where there is one, else by the reader.
    Pairs of the segments in ``sections`` may need that whole text instead.

    Raises:
        ServiceUnavailableError: the server stayed away for minutes.
        RecipeError: it refuses what the recipe asks for.
    """
    if not kept or not (models.has_judge or models.has_reader):
        return None
    by_number = {segment.number: segment for segment in segments}

    async def supported(pair: QAPair) -> bool:
        segment = by_number[pair.segment]
        source = sections.get(pair.segment) or wider_context(text, segment)
        votes = await (judged(pair, source) if models.has_judge else read(pair, source, segment))
        return 2 * sum(votes) > len(votes)

    async def judged(pair: QAPair, source: str) -> list[bool]:
        found = await models.judge(
            pair, source=source, seed=recipe.generator.seed, n=LOOKS, temperature=TEMPERATURE
        )
        return [verdict for verdict, _ in found]

    async def read(pair: QAPair, source: str, segment: Segment) -> list[bool]:
        found = await models.read(
            pair.question,
            context=source,
            segment=segment.text,
            seed=recipe.generator.seed,
            n=LOOKS,
            temperature=TEMPERATURE,
        )
        enough = recipe.gate.agreement
        return [answer is not None and compare(pair.answer, answer, enough).agree for answer in found]

    sample = sample_of(kept, SAMPLE, recipe.generator.seed)
    successes = sum(await asyncio.gather(*map(supported, sample)))
    return estimate(successes, len(sample), recipe.gate.judge or recipe.gate.reader)


def wider_context(text: str, segment: Segment) -> str:
    """The paragraph of a segment, and up to 250 words before it."""
    begin = text.rfind("\n\n", 0, segment.start) + 1
    end = text.find("\n\n", segment.end)
    before = text[max(0, begin - _CHARACTERS_BEFORE) : begin].split()[-_WORDS_BEFORE:]
    return " ".join([*before, *text[begin : end if end >= 0 else None].split()])

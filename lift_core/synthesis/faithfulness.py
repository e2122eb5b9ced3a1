"""How many of a document's kept pairs its text supports: a sample of them, looked at a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from lift_core.records import Estimate, QAPair, Recipe, Segment
from lift_core.synthesis.gate.agreement import compare
from lift_core.synthesis.models import Models
from lift_core.synthesis.report import estimate, sample_of

SAMPLE = 64
"""Pairs that are looked at: at 0.95 the 95 % interval is 0.11 wide, at 0.5 it is 0.24."""
LOOKS = 3
TEMPERATURE = 0.7
_BEFORE_TOKENS, _AFTER_TOKENS = 800, 400
"""With a prompt, a segment and a question they fit the embedded generator's 2,048."""
_LETTERS_A_TOKEN = 3
"""Of English text in fact four to five."""


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
    looks at the rest of the paragraph too, and at more of what precedes it: by the judge where there is one,
    else by the reader. Pairs of the segments in ``sections`` may need that whole text instead.

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
    """A segment, what precedes it, and the rest of its paragraph, each up to a bound.

    A paragraph may be a whole document: plain text without blank lines. The bounds are in tokens, counted so
    that a text of numbers or of another script is not longer than it seems.
    """
    before = text[max(0, segment.start - _BEFORE_TOKENS * _LETTERS_A_TOKEN) : segment.start]
    paragraph_end = text.find("\n\n", segment.end)
    after = text[segment.end : paragraph_end if paragraph_end >= 0 else None]
    left = before[len(before) - _fitting(reversed(before), _BEFORE_TOKENS) :]
    right = after[: _fitting(after, _AFTER_TOKENS)]
    # No half words, where there are blanks between them.
    if len(left) < segment.start:
        left = (left.split(maxsplit=1) or [""])[-1]
    if len(right) < len(after):
        right = (right.rsplit(maxsplit=1) or [""])[0]
    return " ".join(f"{left} {text[segment.start : segment.end]} {right}".split())


def _fitting(characters: Iterable[str], tokens: int) -> int:
    """How many of the characters have at most so many tokens."""
    cost, count = 0.0, 0
    for character in characters:
        if character.isascii() and character.isalpha():
            cost += 1 / _LETTERS_A_TOKEN
        elif not character.isspace():
            # Digits and signs are often tokens of their own, bytes of rare scripts too.
            cost += len(character.encode())
        if cost > tokens:
            break
        count += 1
    return count

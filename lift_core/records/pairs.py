"""Segments of a document, pairs about them, and how good they are."""

from __future__ import annotations

from pydantic import Field

from lift_core.records.base import Record


class Segment(Record):
    """A piece of the document that the generator writes pairs for.

    ``start`` and ``end`` are character offsets into the document's text.
    """

    number: int = Field(ge=0)
    start: int = Field(ge=0)
    end: int
    text: str


class QAPair(Record):
    """One question with its answer; ``segment`` is the number of its source segment."""

    segment: int = Field(ge=0)
    question: str
    answer: str
    held_out: bool = False


class JudgedPair(Record):
    """A pair with the gate's verdict: ``reason`` says why it was rejected, ``detail`` what was found.

    ``agreement`` is the word F1 of a kept pair's answer and the reader's, where the recipe names a reader.
    """

    pair: QAPair
    kept: bool
    reason: str | None = None
    detail: str = ""
    agreement: float | None = None


class Estimate(Record):
    """A share of 1 with its 95 % interval, over a sample of ``sample``; ``by`` says who looked."""

    share: float
    low: float
    high: float
    sample: int
    by: str


class Coverage(Record):
    """What kept pairs touch: shares of segments, names and numbers, and what none of them does."""

    segments: float
    names: float
    numbers: float
    uncovered_segments: tuple[int, ...] = ()
    uncovered_names: tuple[str, ...] = ()
    uncovered_numbers: tuple[str, ...] = ()


class GenerationCost(Record):
    """What the pairs of a document cost; tokens are those of all requests, ``seconds`` are of the clock.

    The attempt that wrote the report counted it: what killed ones before it had asked for is not in it.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class PairReport(Record):
    """How good the pairs of a document are; stored with its adapter. ``rejected`` counts by reason."""

    segments: int
    pairs: int
    kept: int
    rejected: dict[str, int]
    kept_share: float
    coverage: Coverage
    faithfulness: Estimate | None = None
    cost: GenerationCost = GenerationCost()

    @property
    def scores(self) -> dict[str, float]:
        """The report in up to three shares of 1, as scores of the adapter that learned the pairs."""
        found = {"kept_share": self.kept_share, "coverage": self.coverage.segments}
        if self.faithfulness is not None:
            found["faithfulness"] = self.faithfulness.share
        return found

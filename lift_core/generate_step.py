"""The step ``generate``: a document's segments become a stream of judged pairs, and a report about them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from lift_core.attempts import alive
from lift_core.errors import QualityError, RecipeError
from lift_core.log import logger_for
from lift_core.records import (
    Claim,
    GateRecipe,
    GenerationCost,
    JudgedPair,
    Lease,
    PairReport,
    Recipe,
    Segment,
)
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.store import ObjectStore, layout
from lift_core.stream import ShardWriter, committed_judged, read_report

if TYPE_CHECKING:
    from lift_core.synthesis import PairWriter

SEGMENTS_PER_SHARD = 8
"""A shard is committed after this many segments, or after ``SECONDS_PER_SHARD``."""
SECONDS_PER_SHARD = 2.0
LOG_SECONDS = 5.0
_REASONS_NAMED = 3


class Generation:
    """Writes the pairs of jobs over one registry, one object store and one set of settings."""

    def __init__(self, registry: AdapterRegistry, store: ObjectStore, settings: Settings) -> None:
        self._registry = registry
        self._store = store
        self._settings = settings

    def run(self, claim: Claim, holder: str) -> dict[str, Any]:
        """Write the pairs of every segment that has none yet, shard by shard, in order; then the report.

        Killed at any moment, the next attempt goes on at the first segment that no shard covers. The report
        is made of what is committed alone, and there before the stream ends.

        Raises:
            QualityError: the pairs fall below one of the recipe's floors.
            RecipeError: the recipe contradicts itself, or a model's server refuses what it asks for.
            FencedError: another attempt writes this job's pairs.
            ServiceUnavailableError: a service stayed away.
        """
        lease = self._registry.acquire(claim.job_id, "generate", holder)
        with alive(self._registry, lease, self._settings):
            return self._write_pairs(claim, lease)

    def _write_pairs(self, claim: Claim, lease: Lease) -> dict[str, Any]:
        bucket = self._settings.work_bucket
        ended = self._registry.stream_end(claim.job_id)
        if ended is None:
            _check_recipe(claim.recipe)
            self._registry.stage_started(lease)
            writer = ShardWriter(self._registry, self._store, lease, bucket)
            report = asyncio.run(self._generate(claim, writer))
            reason = below_floor(report, claim.recipe.gate, claim.slug)
            ended = writer.complete(report) if reason is None else writer.fail(reason, report)
            log = logger_for(claim, **report.scores)
            log.info("pairs written", kept=report.kept, rejected=report.rejected)
        # An attempt that was killed after it ended the stream left the rest to this one.
        stored = read_report(self._registry, self._store, claim.job_id, bucket)
        if ended.state == "failed":
            raise QualityError(ended.reason or "the pairs fell below a floor of the recipe")
        detail: dict[str, Any] = {"pairs": ended.pair_count}
        if stored is not None:
            detail |= {"rejected": stored.rejected, **stored.scores}
            detail["report"] = f"s3://{bucket}/{ended.report}"
            detail |= stored.cost.model_dump(include={"prompt_tokens", "cached_tokens", "completion_tokens"})
        self._registry.end_open_stage(lease, detail)
        return {"shards": ended.shard_count, **detail}

    async def _generate(self, claim: Claim, writer: ShardWriter) -> PairReport:
        from lift_core.synthesis import PairWriter

        segments = self._segments(claim.job_id)
        async with PairWriter(
            title=claim.title,
            text=self._get_json(layout.text_key(claim.job_id))["text"],
            segments=segments,
            recipe=claim.recipe,
            settings=self._settings,
        ) as pairs:
            await self._write(claim, writer, pairs, len(segments))
            return await pairs.report(list(self._committed(claim)))

    async def _write(self, claim: Claim, writer: ShardWriter, pairs: PairWriter, segments: int) -> None:
        from lift_core.synthesis import ProgressMeter

        log = logger_for(claim)
        first = writer.resume_at()
        questions = [each.pair.question for each in self._committed(claim) if each.kept]
        log.info("generating", segments=segments, first_segment=first, already_kept=len(questions))
        meter = ProgressMeter(segments, done=first)
        batch: list[JudgedPair] = []
        kept = 0
        committed_at = logged_at = time.monotonic()
        rest = pairs.pairs(first_segment=first, kept_questions=questions)
        async with aclosing(rest):
            async for segment, judged in rest:
                batch.extend(judged)
                kept += sum(each.kept for each in judged)
                now = time.monotonic()
                full = segment.number + 1 - first >= SEGMENTS_PER_SHARD
                if full or now - committed_at >= SECONDS_PER_SHARD or segment.number == segments - 1:
                    writer.append(first, segment.number, batch)
                    batch, first, committed_at = [], segment.number + 1, now
                progress = meter.update(segments=segment.number + 1, pairs=kept, cost=pairs.cost)
                if now - logged_at >= LOG_SECONDS:
                    log.info("generating", progress=str(progress))
                    logged_at = now

    def report(self, job_id: int) -> PairReport:
        """How good a job's pairs are: as it was stored, or made now of those that are committed so far, and
        then without an estimate of their faithfulness.

        Raises:
            NotFoundError: the document has not been split yet, or its segments are no longer in the store.
        """
        from lift_core.synthesis import report_of

        bucket = self._settings.work_bucket
        stored = read_report(self._registry, self._store, job_id, bucket)
        if stored is not None:
            return stored
        judged = list(committed_judged(self._registry, self._store, job_id, bucket))
        return report_of(self._segments(job_id), judged, faithfulness=None, cost=GenerationCost())

    def _committed(self, claim: Claim) -> Iterable[JudgedPair]:
        return committed_judged(self._registry, self._store, claim.job_id, self._settings.work_bucket)

    def _segments(self, job_id: int) -> list[Segment]:
        return [Segment.model_validate(each) for each in self._get_json(layout.segments_key(job_id))]

    def _get_json(self, key: str) -> Any:
        return json.loads(self._store.get_bytes(self._settings.work_bucket, key))


def below_floor(report: PairReport, gate: GateRecipe, document: str) -> str | None:
    """Which of the recipe's floors these pairs miss, and what to do about it; None where they miss none."""
    missed = dict(_missed_floors(report, gate))
    if not missed:
        return None
    often = Counter(report.rejected).most_common(_REASONS_NAMED)
    rejected = ", ".join(f"{count} {reason}" for reason, count in often) or "none"
    floors = " and ".join(f"gate.{floor}" for floor in missed)
    return (
        f"{'; '.join(missed.values())}. Rejected: {rejected}. `lift pairs show {document}` has the pairs. "
        f"Let the recipe name a better generator, let it ask for more pairs, or lower {floors}"
    )


def _missed_floors(report: PairReport, gate: GateRecipe) -> Iterator[tuple[str, str]]:
    if report.kept < gate.min_pairs:
        yield (
            "min_pairs",
            f"only {report.kept} question-answer pairs passed the gate; the recipe asks for {gate.min_pairs}",
        )
    if report.kept_share < gate.min_kept_share:
        yield (
            "min_kept_share",
            f"only {report.kept_share:.1%} of the {report.pairs} pairs passed the gate; the recipe asks for "
            f"{gate.min_kept_share:.1%}",
        )
    if report.coverage.segments < gate.min_coverage:
        yield (
            "min_coverage",
            f"kept pairs touch only {report.coverage.segments:.1%} of the {report.segments} segments; the "
            f"recipe asks for {gate.min_coverage:.1%}",
        )
    seen = report.faithfulness
    if seen is not None and seen.share < gate.min_faithfulness:
        yield (
            "min_faithfulness",
            f"{seen.by} finds only {seen.share:.1%} of {seen.sample} kept pairs supported by the text; the "
            f"recipe asks for {gate.min_faithfulness:.1%}",
        )


def _check_recipe(recipe: Recipe) -> None:
    gate = recipe.gate
    if gate.min_faithfulness and (recipe.generator.profile == "cloze" or not (gate.reader or gate.judge)):
        raise RecipeError(
            f"the recipe asks for gate.min_faithfulness {gate.min_faithfulness} and names nobody who would "
            "estimate it: name gate.reader or gate.judge"
        )

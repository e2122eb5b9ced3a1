"""The step ``train``: a job's stream of pairs becomes a candidate adapter.

Where the document is small and its pairs are all there, others like it are taken along: they wait for the
same base model, and one pass over all of them costs little more than a pass over one. Their own runs then
find the work done.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lift_core.attempts import alive
from lift_core.base_models import base_model_folder
from lift_core.errors import FencedError, LiftError
from lift_core.log import logger_for
from lift_core.provenance import measured
from lift_core.records import AdapterRecord, Claim, Lease, Recipe, TrainingResult
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.store import ObjectStore, layout
from lift_core.stream import ShardReader, StoredCheckpoints, read_report

if TYPE_CHECKING:
    from lift_core.training import TrainingProgress

READER_WAKE_SECONDS = 0.2
LOG_SECONDS = 5.0
PAIR_REPORT = "pair_report.json"
"""How good the pairs were that an adapter learned; one of its files."""


@dataclass(frozen=True)
class _Work:
    """A job that this training does: under which lease, and where its files lie meanwhile."""

    claim: Claim
    lease: Lease
    folder: Path
    checkpoints: StoredCheckpoints

    @property
    def adapter_folder(self) -> Path:
        return self.folder / "adapter"


class Training:
    """Trains jobs over one registry, one object store and one set of settings."""

    def __init__(self, registry: AdapterRegistry, store: ObjectStore, settings: Settings) -> None:
        self._registry = registry
        self._store = store
        self._settings = settings

    def run(self, claim: Claim, holder: str, writer_gone: threading.Event | None) -> dict[str, Any]:
        """Train a claim's adapter, and those of documents that can be taken along.

        Killed at any moment, the next attempt goes on at the newest checkpoint.

        Raises:
            FencedError: another attempt trains this job.
            LiftError: what the stream or the training ended with.
        """
        lease = self._registry.acquire(claim.job_id, "train", holder)
        with alive(self._registry, lease, self._settings):
            return self._make_adapter(claim, lease, holder, writer_gone)

    def _make_adapter(
        self, claim: Claim, lease: Lease, holder: str, writer_gone: threading.Event | None
    ) -> dict[str, Any]:
        existing = self._registry.adapter_of_job(claim.job_id)
        if existing is not None:
            # The attempt that made it may have been killed before it said so.
            self._checkpoints(lease, Path()).clear()
            self._registry.end_open_stage(lease)
            return {"adapter": existing.name}
        with tempfile.TemporaryDirectory(prefix="lift-train-") as scratch, ExitStack() as companions:
            own = self._work(claim, lease, Path(scratch))
            works = [own, *self._companions(claim, holder, Path(scratch))]
            for work in works[1:]:
                companions.enter_context(
                    alive(self._registry, work.lease, self._settings, interrupting=False)
                )
            outcomes, provenance = self._train(works, writer_gone)
            for work in works[1:]:
                self._end_companion(work, outcomes[work.claim.run_id], provenance)
            result = outcomes[claim.run_id]
            if isinstance(result, LiftError):
                raise result
            adapter = self._store_candidate(own, result, provenance)
        return {"adapter": adapter.name, "steps": result.steps, "pairs": result.pairs}

    def _work(self, claim: Claim, lease: Lease, scratch: Path) -> _Work:
        folder = scratch / str(claim.job_id)
        (folder / "adapter").mkdir(parents=True)
        self._registry.stage_started(lease)
        return _Work(claim, lease, folder, self._checkpoints(lease, folder / "checkpoints"))

    def _checkpoints(self, lease: Lease, scratch: Path) -> StoredCheckpoints:
        return StoredCheckpoints(self._registry, self._store, lease, self._settings.work_bucket, scratch)

    def _companions(self, claim: Claim, holder: str, scratch: Path) -> list[_Work]:
        """Small documents whose pairs are all there, if this one is such a one too."""
        limit, most = self._settings.train_together_pairs, self._settings.train_together - 1
        end = self._registry.stream_end(claim.job_id)
        if most == 0 or end is None or end.state != "complete" or end.pair_count > limit:
            return []
        shape = _shape(claim.recipe)
        found: list[_Work] = []
        for other in self._registry.waiting_for_training(claim.bucket, limit):
            if len(found) == most:
                break
            if _shape(other.recipe) != shape:
                continue
            lease = self._registry.acquire_free(other.job_id, "train", holder)
            if lease is None:
                continue
            try:
                found.append(self._work(other, lease, scratch))
            except FencedError as error:
                # Its own run came between the two.
                logger_for(other).info("its own run trains it", error=str(error))
        if found:
            logger_for(claim).info("trained along", runs=[work.claim.run_id for work in found])
        return found

    def _train(
        self, works: list[_Work], writer_gone: threading.Event | None
    ) -> tuple[dict[str, TrainingResult | LiftError], dict[str, Any]]:
        from lift_core.training import Backbone, Document, train_together
        from lift_core.training.parallel import team

        recipe = works[0].claim.recipe
        with measured() as provenance, team(self._settings.train_processes) as ranks:
            documents = [
                Document(
                    name=work.claim.run_id,
                    pairs=ShardReader(
                        self._registry,
                        self._store,
                        work.claim.job_id,
                        self._settings.work_bucket,
                        idle_seconds=self._settings.stream_idle_seconds,
                        poll_seconds=READER_WAKE_SECONDS,
                        writer_gone=writer_gone,
                    ),
                    recipe=work.claim.recipe,
                    title=work.claim.title,
                    out_dir=work.adapter_folder,
                    text=self._text(work.claim),
                )
                for work in works
            ]
            outcomes = train_together(
                documents,
                Backbone(
                    base_model_folder(recipe, self._settings),
                    recipe.training.precision,
                    ranks,
                    shard=self._settings.train_shard,
                ),
                checkpoints={work.claim.run_id: work.checkpoints for work in works},
                checkpoint_seconds=self._settings.checkpoint_seconds,
                on_progress=_log_every(LOG_SECONDS, works),
            )
        provenance["documents"] = len(works)
        return outcomes, provenance

    def _text(self, claim: Claim) -> str:
        """The document's own text, where its recipe learns it."""
        if claim.recipe.training.raw_text == "none":
            return ""
        stored = self._store.get_bytes(self._settings.work_bucket, layout.text_key(claim.job_id))
        text: str = json.loads(stored)["text"]
        return text

    def _store_candidate(
        self, work: _Work, result: TrainingResult, provenance: dict[str, Any]
    ) -> AdapterRecord:
        from lift_core.training import sha256_files
        from lift_core.training.learning_curve import learning_curve

        scores = {"train_loss": result.final_loss, "train_seconds": result.seconds}
        if result.held_out_losses:
            scores["held_out_loss"] = result.held_out_losses[result.epochs - 1]
        report = read_report(self._registry, self._store, work.claim.job_id, self._settings.work_bucket)
        if report is not None:
            (work.adapter_folder / PAIR_REPORT).write_text(report.model_dump_json(indent=1), "utf-8")
            scores |= report.scores
        files = sha256_files(work.adapter_folder)
        prefix = layout.candidate_prefix(work.claim.job_id, work.lease.token)
        for name in files:
            self._store.put_file(
                self._settings.adapters_bucket, f"{prefix}{name}", work.adapter_folder / name
            )
        bucket, curve = self._settings.work_bucket, layout.learning_curve_key(work.claim.job_id)
        picture = learning_curve(result, work.claim.title)
        self._store.put_bytes(bucket, curve, picture, content_type="image/svg+xml")
        adapter = self._registry.register_candidate(work.lease, prefix, files, scores, provenance)
        work.checkpoints.clear()
        loss = round(result.final_loss, 4)
        detail: dict[str, Any] = {"pairs": result.pairs, "steps": result.steps, "loss": loss}
        detail["learning_curve"] = f"s3://{bucket}/{curve}"
        detail |= {"tokens": result.tokens, "seconds": round(result.seconds, 3)}
        # Each document's share of the card that they had together.
        detail["gpu_seconds"] = round(provenance["gpu_seconds"] / provenance["documents"], 3)
        self._registry.stage_ended(work.lease, detail)
        logger_for(work.claim, adapter=adapter.name).info("trained", steps=result.steps, loss=loss)
        return adapter

    def _end_companion(
        self, work: _Work, result: TrainingResult | LiftError, provenance: dict[str, Any]
    ) -> None:
        """Store what was trained along. What went wrong is left to the document's own run, which meets it
        again and ends with it."""
        log = logger_for(work.claim)
        if isinstance(result, LiftError):
            log.warning("not trained along", error=str(result))
            return
        try:
            self._store_candidate(work, result, provenance)
        except FencedError as error:
            log.info("its own run trains it meanwhile", error=str(error))


def _shape(recipe: Recipe) -> tuple[Any, ...]:
    """What documents that are trained together must have in common."""
    return recipe.base_model, recipe.base_revision, recipe.training.precision, recipe.lora


def _log_every(seconds: float, works: list[_Work]) -> Callable[[TrainingProgress], None]:
    """A progress callback that writes a line a document at most every ``seconds``."""
    logs = {work.claim.run_id: logger_for(work.claim) for work in works}
    last = dict.fromkeys(logs, time.monotonic())

    def on_progress(progress: TrainingProgress) -> None:
        if time.monotonic() - last[progress.name] >= seconds:
            last[progress.name] = time.monotonic()
            share = progress.utilisation
            logs[progress.name].info(
                "training",
                epoch=progress.epoch,
                step=progress.step,
                loss=round(progress.loss, 4),
                tokens_per_second=round(progress.tokens_per_second),
                gflops=round(progress.flops_per_second / 1e9),
                utilisation=None if share is None else round(share, 3),
                memory_gib=round(progress.peak_memory / 2**30, 2),
            )

    return on_progress

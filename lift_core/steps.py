"""The steps of one run: claim → split → (generate ∥ train) → prove → activate.

Airflow's tasks and ``lift run`` call these same methods. Every step may be killed and called
again: what it had committed stays, what it had not is done anew, nothing is written twice.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from lift_core.attempts import alive, patiently, this_process
from lift_core.base_models import base_model_folder
from lift_core.dispatching import Dispatching
from lift_core.errors import (
    AlreadyDoneError,
    DocumentError,
    LiftError,
    NotFoundError,
    ProofError,
)
from lift_core.generate_step import Generation
from lift_core.log import logger_for, told_of
from lift_core.recipes import load_recipe, named_recipe
from lift_core.records import (
    AdapterRecord,
    AdmittedJob,
    Claim,
    JudgedPair,
    Lease,
    QAPair,
    Reprocessed,
    Stage,
)
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings, get_settings
from lift_core.store import ObjectStore, layout
from lift_core.train_step import Training

T = TypeVar("T")


class Steps:
    """The steps over one registry, one object store and one set of settings."""

    def __init__(self, registry: AdapterRegistry, store: ObjectStore, settings: Settings) -> None:
        self.registry = registry
        self.store = store
        self.settings = settings

    @classmethod
    def connect(cls, settings: Settings | None = None) -> Steps:
        """Steps over the services that the settings name; not to be used on both sides of a fork.

        One connection is kept: to open one for each call was a tenth of a small document's time. Threads open
        more as they need them, and never wait for one another's.
        """
        settings = settings or get_settings()
        registry = AdapterRegistry.from_settings(settings, pool_size=1, overflow=-1)
        return cls(registry, ObjectStore.from_settings(settings), settings)

    # --- arrival ------------------------------------------------------------------------

    def dispatch(self) -> list[AdmittedJob]:
        """List the inbox, record what is new, and admit what may start: see :class:`Dispatching`."""
        return Dispatching(self.registry, self.store, self.settings).run()

    def reprocess(
        self,
        since: datetime,
        until: datetime,
        recipe: str | None = None,
        *,
        prefix: str = "",
        force_as: str | None = None,
        dry_run: bool = False,
    ) -> list[Reprocessed]:
        """Queue what arrived in [since, until) again, under a recipe by its name (None: LIFT_RECIPE).

        See :meth:`AdapterRegistry.reprocess_arrived`.

        Raises:
            RecipeError: there is no such recipe.
        """
        return self.registry.reprocess_arrived(
            self.settings.documents_bucket,
            since,
            until,
            named_recipe(recipe, self.settings.recipes_dir) if recipe else load_recipe(self.settings.recipe),
            prefix=prefix,
            force_as=force_as,
            dry_run=dry_run,
        )

    # --- one run ------------------------------------------------------------------------

    def claim(self, run_id: str, holder: str | None = None) -> Claim:
        """Make the job this run's own, read the document, and settle which version it is.

        Raises:
            AlreadyDoneError: the job is done, belongs to another run, or its bytes are those
                of an earlier version.
            DocumentError: the object is no document that can be read.
            RecipeError: the recipe names a converter that this version does not have.
        """
        from lift_core.documents import read_document

        claim = self.registry.claim(run_id)
        with self._stage(claim, "claim", holder) as (_, detail):
            limit = self.settings.max_document_bytes
            if claim.size > limit:
                raise DocumentError(
                    f"'{claim.key}' has {claim.size:,} bytes; the limit is {limit:,} "
                    "(LIFT_MAX_DOCUMENT_BYTES)"
                )
            data = self.store.get_bytes(claim.bucket, claim.key, if_match=claim.etag, max_bytes=limit)
            self.registry.settle(claim.job_id, hashlib.sha256(data).hexdigest(), None)
            read = read_document(data, claim.key, converter=claim.recipe.converter, settings=self.settings)
            self.registry.settle(claim.job_id, hashlib.sha256(data).hexdigest(), read.title)
            self._put_json(layout.text_key(claim.job_id), {"title": read.title, "text": read.text})
            detail.update(read.model_dump(include={"kind", "language", "pages"}, exclude_none=True))
        logger_for(claim).info(
            "claimed", title=read.title, characters=len(read.text), recipe=claim.recipe.digest[:8], **detail
        )
        return claim.model_copy(update={"title": read.title})

    def split(self, claim: Claim, holder: str | None = None) -> int:
        """Cut the text into segments and store them; returns how many there are."""
        from lift_core.documents import split

        with self._stage(claim, "split", holder) as (_, detail):
            text = self._get_json(layout.text_key(claim.job_id))["text"]
            segments = split(text, claim.recipe.segmentation)
            self._put_json(
                layout.segments_key(claim.job_id), [segment.model_dump(mode="json") for segment in segments]
            )
            detail["segments"] = len(segments)
        logger_for(claim).info("split", segments=len(segments), grain=claim.recipe.segmentation.grain)
        return len(segments)

    def generate(self, claim: Claim, holder: str) -> dict[str, Any]:
        """Write the pairs of every segment that has none yet, shard by shard, in order; report on them.

        Raises:
            QualityError: the pairs fall below one of the recipe's floors.
        """
        with told_of(claim):
            return Generation(self.registry, self.store, self.settings).run(claim, holder)

    def train(self, claim: Claim, holder: str, writer_gone: threading.Event | None = None) -> dict[str, Any]:
        """Train the adapter from the stream while it is being written; store it as candidate.

        ``writer_gone`` is set by a caller that knows that no more shards will come.
        """
        with told_of(claim):
            return Training(self.registry, self.store, self.settings).run(claim, holder, writer_gone)

    def prove(self, claim: Claim, holder: str) -> dict[str, float]:
        """Show that the adapter loads, changes the output and beats the base on held-out pairs.

        Raises:
            ProofError: it does not; the adapter is rejected and never served.
        """
        from lift_core.evaluation.proof import prove

        adapter = self._adapter(claim)
        with (
            told_of(claim, adapter=adapter.name),
            self._stage(claim, "prove", holder) as (lease, detail),
            tempfile.TemporaryDirectory(prefix="lift-prove-") as scratch,
        ):
            folder = Path(scratch)
            for name in adapter.files:
                self.store.get_file(self.settings.adapters_bucket, f"{adapter.prefix}{name}", folder / name)
            pairs = list(self.committed_pairs(claim.job_id))
            try:
                scores = prove(
                    adapter_dir=folder,
                    base_path=base_model_folder(claim.recipe, self.settings),
                    recipe=claim.recipe,
                    title=claim.title,
                    pairs=pairs,
                    expected_files=adapter.files,
                )
                if claim.recipe.proof.served:
                    self._prove_served(claim, adapter, pairs)
            except ProofError as error:
                self.registry.reject(lease, adapter.name, str(error))
                raise
            self.registry.record_proof(lease, adapter.name, scores)
            detail.update({name: round(value, 4) for name, value in scores.items()})
        logger_for(claim, adapter=adapter.name).info("proven", **detail)
        return scores

    def _prove_served(self, claim: Claim, adapter: AdapterRecord, pairs: list[QAPair]) -> None:
        """The server that will answer must hold the adapter, not serve the base in its name.

        vLLM serves the base model silently when tensor names do not match (vllm #34186, #48019).
        """
        from lift_core.prompting import messages
        from lift_core.serving import ReplicaClient

        client = ReplicaClient.for_base_model(self.settings, claim.recipe.base_model)
        probes = [messages(claim.recipe.training, claim.title, pair.question) for pair in pairs[:3]]
        try:
            differs = any(
                client.differs_from_base(adapter.name, claim.recipe.base_model, probe) for probe in probes
            )
        except NotFoundError as error:
            raise ProofError(
                f"the serving engine does not load '{adapter.name}' ({error}); "
                f"`lift adapters show {adapter.name}` has the reason"
            ) from error
        if not differs:
            client.unload(adapter.name)
            raise ProofError(
                f"the serving engine answers as the base model under the name '{adapter.name}': "
                "it did not apply the adapter"
            )

    def activate(self, claim: Claim, holder: str | None = None) -> str:
        """Let the adapter serve, move the document's aliases to it, end the job.

        Raises:
            FencedError: a newer attempt activates it.
        """
        adapter = self._adapter(claim)
        with told_of(claim, adapter=adapter.name), self._stage(claim, "activate", holder) as (lease, _):
            # Before it serves, so that whoever may ask it can also find it.
            self.registry.index_adapter(adapter.name, self.committed_pairs(claim.job_id))
            active = self.registry.activate(adapter.name, lease)
        logger_for(claim, adapter=active.name).info("active", aliases=list(active.aliases))
        return active.name

    def fail(self, run_id: str, reason: str, permanent: bool, by: tuple[Stage, str] | None = None) -> None:
        """End the job of this run with a reason that a person understands.

        ``by`` names the attempt that gave up, by step and holder.

        Raises:
            FencedError: a later attempt at that step goes on with it; the job is not failed.
        """
        self.registry.fail_job(self.registry.job_of_run(run_id), reason, permanent, by)

    def patiently(self, step: Stage, call: Callable[[], T], claim: Claim | None, holder: str) -> T:
        """What ``call``, a step, returns; while a service is away it is waited for and tried again.

        Of a ``claim`` the registry shows, where it is not itself away, that the attempt lives and waits.

        Raises:
            ServiceUnavailableError: the service stayed away for LIFT_OUTAGE_SECONDS.
            LiftError: whatever else the step raises.
        """

        def note(service: str) -> None:
            if claim is not None:
                with suppress(LiftError):
                    self.registry.note_waiting(claim.job_id, step, holder, service)

        with told_of(claim) if claim is not None else nullcontext():
            return patiently(call, what=step, seconds=self.settings.outage_seconds, on_wait=note)

    # --- shared -------------------------------------------------------------------------

    def committed_pairs(self, job_id: int) -> Iterator[QAPair]:
        """The kept pairs in the manifest so far, in document order; does not wait for more."""
        return (each.pair for each in self.committed_judged(job_id) if each.kept)

    def committed_judged(self, job_id: int) -> Iterator[JudgedPair]:
        """The same with the gate's verdicts, rejected pairs too."""
        from lift_core.stream import committed_judged

        return committed_judged(self.registry, self.store, job_id, self.settings.work_bucket)

    def text_of(self, adapter: str) -> str:
        """The text that an adapter was made of.

        Raises:
            NotFoundError: there is no such adapter, or its document's text is no longer in the store.
        """
        job = self.registry.job_of_run(self.registry.lineage(adapter).run["run_id"])
        text: str = self._get_json(layout.text_key(job))["text"]
        return text

    def _adapter(self, claim: Claim) -> AdapterRecord:
        adapter = self.registry.adapter_of_job(claim.job_id)
        if adapter is None:
            raise AlreadyDoneError(f"run {claim.run_id} has no adapter: its training did not finish")
        return adapter

    @contextmanager
    def _stage(
        self, claim: Claim, stage: Stage, holder: str | None
    ) -> Iterator[tuple[Lease, dict[str, Any]]]:
        """A new attempt at a stage: record when it starts and, if it gets there, when it ended and how."""
        detail: dict[str, Any] = {}
        lease = self.registry.acquire(claim.job_id, stage, holder or this_process())
        with told_of(claim), alive(self.registry, lease, self.settings):
            self.registry.stage_started(lease)
            yield lease, detail
            self.registry.stage_ended(lease, detail)

    def _put_json(self, key: str, body: Any) -> None:
        data = json.dumps(body, ensure_ascii=False).encode()
        self.store.put_bytes(self.settings.work_bucket, key, data, content_type="application/json")

    def _get_json(self, key: str) -> Any:
        return json.loads(self.store.get_bytes(self.settings.work_bucket, key))

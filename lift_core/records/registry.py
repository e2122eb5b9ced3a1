"""What the registry holds: arrivals, jobs, leases, shards, adapters."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from lift_core.records.base import Record
from lift_core.records.recipe import Recipe

JobState = Literal["queued", "admitted", "running", "done", "failed", "cancelled"]
Stage = Literal["claim", "split", "generate", "train", "prove", "activate"]
AdapterState = Literal["candidate", "active", "rejected", "quarantined", "archived", "superseded", "removed"]
DocumentState = Literal[
    "queued", "splitting", "generating", "training", "proving", "ready", "failed", "superseded", "removed"
]

MIN_PRIORITY, MAX_PRIORITY = -100, 100


class Arrival(Record):
    """An object seen in the inbox."""

    bucket: str
    key: str
    etag: str
    size: int
    arrived_at: datetime


class JobRequest(Record):
    """What a document asks for: a recipe, and how urgent it is; the higher the priority, the sooner."""

    recipe: Recipe
    priority: int = Field(default=0, ge=MIN_PRIORITY, le=MAX_PRIORITY)


class Tenant(Record):
    """A prefix of the inbox with rules of its own; ``quota``: the most of its documents under way."""

    prefix: str = Field(min_length=1)
    recipe: str | None = None
    quota: int | None = Field(default=None, ge=1)


class AdmittedJob(Record):
    """A job that may start now; ``run_id`` is readable: ``<slug>-v7-<recipe8>-g1``."""

    job_id: int
    run_id: str


class Reprocessed(Record):
    """A document that a reprocessing selects, and what becomes of it under the recipe.

    ``action``: ``queue``, or why nothing is queued: a job of the recipe is ``under way`` or ``done``, or
    ``failed`` for good. ``run_id`` is that job's run, None for one that a dry run only would queue.
    """

    bucket: str
    key: str
    title: str
    version: int
    arrived_at: datetime
    action: Literal["queue", "under way", "done", "failed"]
    run_id: str | None


class Claim(Record):
    """What every step of one run needs to know; it travels between tasks and holds no secret."""

    job_id: int
    run_id: str
    slug: str
    title: str
    bucket: str
    key: str
    etag: str
    size: int
    version: int
    recipe: Recipe


class Lease(Record):
    """The right of one attempt to write for one role of one job, until a newer token exists."""

    job_id: int
    role: Stage
    token: int


class Beat(Record):
    """An attempt's sign of life: seconds since it began, and since it last committed something."""

    seconds: float = 0.0
    idle_seconds: float = 0.0


class LostAttempt(Record):
    """An attempt that gave no sign of life for too long; ``beat_at`` was the last one."""

    run_id: str
    role: Stage
    holder: str
    beat_at: datetime


class OpenJob(Record):
    """A job whose run should be under way, or that failed and may be run again.

    ``quiet_seconds``: since the newest sign of life of any of its attempts, or since it was admitted.
    """

    job_id: int
    run_id: str
    state: JobState
    reruns: int
    quiet_seconds: float


class Shard(Record):
    """A committed piece of the stream: pairs of the segments ``first_segment``..``last_segment``.

    ``pair_count`` is the number of kept ones; the rejected ones lie beside them.
    """

    number: int
    key: str
    sha256: str
    first_segment: int
    last_segment: int
    pair_count: int


class StreamEnd(Record):
    """How the stream ended; ``checksum`` is the sha256 over the shards' sha256 in order.

    ``report`` is the key of the report about the pairs in the work bucket; None for streams without one.
    """

    state: Literal["complete", "failed"]
    shard_count: int
    pair_count: int
    checksum: str
    reason: str | None = None
    report: str | None = None


class Checkpoint(Record):
    """A committed state of a job's training after ``step`` steps of attempt ``token``; ``size`` in bytes."""

    token: int
    step: int = Field(ge=0)
    key: str
    sha256: str
    size: int


class StageTime(Record):
    """When a stage of a job began and ended, and what came of it."""

    stage: Stage
    started_at: datetime
    ended_at: datetime | None
    attempts: int = 1
    """How often it was begun; one that was killed has begun too."""
    waits_for: str | None = None
    """The service that is away, which its attempt waits for."""
    detail: dict[str, Any] = Field(default_factory=dict)
    log: str | None = None
    """Address of the task's log in Airflow's UI, where that is known."""


class DocumentRecord(Record):
    """A line of ``lift docs ls``."""

    bucket: str
    key: str
    title: str
    slug: str
    version: int
    etag: str
    state: DocumentState
    reason: str | None
    run_id: str | None
    """The newest run of ``lift_document`` for this version; what its id means is in ``names.py``."""
    adapter: str | None
    arrived_at: datetime
    ready_at: datetime | None


class JobRecord(Record):
    """One piece of work on a document: a version under a recipe, in its ``generation``-th making."""

    run: str
    version: int
    recipe: str
    """The recipe's digest."""
    generation: int
    state: JobState
    reason: str | None
    permanent: bool
    """Whether a failed one can only fail again."""
    late: bool
    """Whether it missed its deadline (LIFT_DEADLINE_MINUTES)."""
    adapter: str | None
    adapter_state: AdapterState | None
    created_at: datetime
    finished_at: datetime | None
    airflow_run: str | None
    """Address of the run in Airflow's UI, where that is known."""


class JobAlert(Record):
    """What people are told of a job that failed or is late."""

    job_id: int
    run: str
    bucket: str
    key: str
    document: str
    """The document's slug."""
    version: int
    state: JobState
    reason: str | None
    waits_for: str | None
    queued_at: datetime
    seconds: float
    """From then to its end, or until now."""


class DocumentPage(Record):
    """Some documents, newest first, and where the next page begins; None at the end."""

    documents: tuple[DocumentRecord, ...]
    next_cursor: str | None


class AdapterRecord(Record):
    """A line of ``lift adapters ls``; ``files`` maps a file's name to its sha256."""

    name: str
    aliases: tuple[str, ...]
    bucket: str
    document: str
    slug: str
    version: int
    title: str
    base_model: str
    base_revision: str
    recipe: str
    state: AdapterState
    prefix: str
    files: dict[str, str]
    created_at: datetime
    activated_at: datetime | None
    """When it last became active; None if it never was."""
    scores: dict[str, float]
    tags: dict[str, str]


class ScoreCondition(Record):
    """A bound on a score, written ``gain>=1.5``."""

    score: str
    comparison: Literal[">", ">=", "<", "<=", "="]
    value: float


class AdapterFilter(Record):
    """Which adapters to list; every field that is given must hold."""

    document: str | None = None
    """A document's key or slug."""
    base_model: str | None = None
    recipe: str | None = None
    """A recipe's digest, or its first characters."""
    states: tuple[AdapterState, ...] = ()
    """Any of them; none given: all but ``removed``."""
    since: datetime | None = None
    until: datetime | None = None
    """Created at ``since`` or later, and before ``until``."""
    tags: dict[str, str] = Field(default_factory=dict)
    scores: tuple[ScoreCondition, ...] = ()
    text: str | None = None
    """Words that the title must hold, in PostgreSQL's web search syntax: ``steam -engine``."""


class AdapterPage(Record):
    """Some adapters, newest first, and where the next page begins; None at the end."""

    adapters: tuple[AdapterRecord, ...]
    next_cursor: str | None


class AliasRecord(Record):
    """A name that points to an active adapter, and since when."""

    name: str
    adapter: str
    moved_at: datetime


class Event(Record):
    """One line of the append-only record of what happened."""

    id: int
    at: datetime
    kind: str
    subject: str
    detail: dict[str, Any]


class DocumentStory(DocumentRecord):
    """All there is to tell of a document; about its run and stages: of its newest job.

    The run and its log are in Airflow from the moment that the run starts.
    """

    run: str | None
    """The same as ``run_id``."""
    airflow_run: str | None
    waits_for: str | None
    """Why nothing moves, in words; None where something does, or all is over."""
    queued_ahead: int | None
    """How many jobs are before it by priority and arrival; None where it does not wait for its turn."""
    stages: tuple[StageTime, ...]
    history: tuple[Event, ...]
    """The newest events of the document, its runs, adapters and aliases, oldest first."""
    jobs: tuple[JobRecord, ...]
    """Its newest jobs, of all versions, recipes and generations; newest first."""


class Lineage(Record):
    """Where an adapter comes from. ``provenance`` was written by the process that trained it."""

    adapter: str
    state: AdapterState
    document: dict[str, Any]
    """Bucket, key, slug, title, version, sha256, size and time of arrival."""
    recipe: dict[str, Any]
    """Digest and body."""
    pairs: dict[str, Any]
    """How many were kept and rejected, in how many shards, and the sha256 over those."""
    generator: dict[str, Any]
    base: dict[str, Any]
    run: dict[str, Any]
    """Airflow's DAG and run id, the job's generation, and the stages with their times."""
    provenance: dict[str, Any]
    """Code and library versions, hardware, seconds of time, processor and GPU, energy where known."""


class TrainingResult(Record):
    """What a training run leaves behind, without the files.

    Losses are means over answer tokens, in nats: ``losses`` of each step, ``held_out_losses`` of the held-out
    pairs after each epoch. ``tokens`` and ``seconds`` are those of the steps that led here, without waiting
    for pairs; ``flops`` are floating-point operations of the model's matrix products, ``utilisation`` their
    share of the card's peak where that is known. ``peak_memory`` is in bytes, of the device, or of the
    process on the CPU. ``epochs`` is the one whose weights were kept.
    """

    steps: int
    pairs: int
    tokens: int
    seconds: float
    first_loss: float
    final_loss: float
    losses: tuple[float, ...]
    held_out_losses: tuple[float, ...] = ()
    epochs: int = 0
    flops: float = 0.0
    utilisation: float | None = None
    peak_memory: int = 0

"""The typed records that pass between rooms."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RECIPE_FORMAT = 1


class Record(BaseModel):
    """Immutable, and strict about unknown fields: a misspelt one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    """A pair with the gate's verdict: ``reason`` says why it was rejected."""

    pair: QAPair
    kept: bool
    reason: str | None = None


# --- recipe -----------------------------------------------------------------------------


class SegmentationRecipe(Record):
    """How the text is cut. The grain is a choice because the paper leaves its effect open."""

    grain: Literal["sentence", "paragraph"] = "sentence"
    max_chars: int = Field(default=1200, ge=50)


class GeneratorRecipe(Record):
    """Who writes the pairs, and how.

    ``profile`` ``lines`` asks a model over an OpenAI-compatible API for ``Q:``/``A:`` lines;
    ``cloze`` asks no model: it blanks a word of the segment, for smoke tests and for
    measuring orchestration alone.
    """

    profile: Literal["lines", "cloze"] = "lines"
    model: str = "SmolLM2-135M-Instruct-questions"
    revision: str = "1"
    context_words: int = Field(default=60, ge=0)
    greedy_samples: int = Field(default=1, ge=0)
    sampled: int = Field(default=5, ge=0)
    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=120, gt=0)
    seed: int = 0


class GateRecipe(Record):
    """What a pair must satisfy to be learned, and how many a document must have."""

    grounded: bool = True
    max_pairs_per_segment: int = Field(default=8, gt=0)
    min_pairs: int = Field(default=4, gt=0)


class LoraRecipe(Record):
    """Shape of the adapter: rank, alpha and the linear layers it is put on.

    Its output is scaled by alpha / rank, with ``rslora`` by alpha / sqrt(rank) (arXiv 2312.03732). There is
    no DoRA: vLLM refuses it.
    """

    rank: int = Field(default=128, gt=0)
    alpha: int = Field(default=256, gt=0)
    rslora: bool = False
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


class TrainingRecipe(Record):
    """How the adapter is trained. ``pairs_per_step`` pairs make one optimizer step.

    ``schedule`` ``cosine`` holds the rate through the first epoch, whose length nobody knows while the pairs
    still come, and lets it fall to nearly nothing over the others. ``raw_text`` learns the document's own
    text too, or only that, in windows of ``raw_text_tokens`` (the paper's baselines raw+QA and
    Finetune-Raw). ``patience`` ends the training after so many epochs without a lower loss on the held-out
    pairs, and keeps the best epoch's weights; 0: never. ``title_in`` is where the prompt names the title:
    templates without a system role (Gemma's) need ``user``.
    """

    epochs: int = Field(default=4, ge=1, le=16)
    learning_rate: float = Field(default=3e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(default=0.0, ge=0)
    pairs_per_step: int = Field(default=8, gt=0)
    token_budget: int = Field(default=1024, gt=0)
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    system_prompt: str = 'Answer briefly from your memory of "{title}".'
    title_in: Literal["system", "user"] = "system"
    raw_text: Literal["none", "also", "only"] = "none"
    raw_text_tokens: int = Field(default=512, ge=16)
    patience: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _schedule_can_fall(self) -> TrainingRecipe:
        if self.schedule == "cosine" and self.epochs == 1:
            raise ValueError(
                "the schedule 'cosine' holds the rate through the first epoch: one epoch needs 'constant'"
            )
        return self


class ProofRecipe(Record):
    """What an adapter must show before it may serve.

    ``held_out_share`` of the kept pairs never enter training; the adapter's mean
    log-likelihood of their answers must exceed the base model's by ``min_gain`` nats a token.
    ``served`` also asks the serving engine for the adapter and compares it with the base.
    """

    held_out_share: float = Field(default=0.1, ge=0, le=0.5)
    min_gain: float = 0.0
    served: bool = True


class Recipe(Record):
    """All that shapes an adapter. Two equal recipes make the same job."""

    format: int = RECIPE_FORMAT
    base_model: str = "SmolLM2-135M-Instruct"
    base_revision: str = "1"
    converter: str = "text/1"
    segmentation: SegmentationRecipe = SegmentationRecipe()
    generator: GeneratorRecipe = GeneratorRecipe()
    gate: GateRecipe = GateRecipe()
    lora: LoraRecipe = LoraRecipe()
    training: TrainingRecipe = TrainingRecipe()
    proof: ProofRecipe = ProofRecipe()

    @model_validator(mode="after")
    def _known_format(self) -> Recipe:
        if self.format != RECIPE_FORMAT:
            raise ValueError(f"recipe format {self.format} is unknown; this version reads {RECIPE_FORMAT}")
        return self

    def canonical(self) -> str:
        """Canonical JSON: sorted keys, only what differs from the format's defaults.

        A field added later therefore leaves the digests of older recipes as they were.
        """
        body = self.model_dump(mode="json", exclude_defaults=True)
        body["format"] = self.format
        return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


# --- registry ---------------------------------------------------------------------------

JobState = Literal["queued", "admitted", "running", "done", "failed", "cancelled"]
Stage = Literal["claim", "split", "generate", "train", "prove", "activate"]
AdapterState = Literal["candidate", "active", "rejected", "quarantined", "archived", "superseded", "removed"]
DocumentState = Literal[
    "queued", "splitting", "generating", "training", "proving", "ready", "failed", "superseded", "removed"
]


class Arrival(Record):
    """An object seen in the inbox."""

    bucket: str
    key: str
    etag: str
    size: int
    arrived_at: datetime


class AdmittedJob(Record):
    """A job that may start now; ``run_id`` is readable: ``<slug>-v7-<recipe8>-g1``."""

    job_id: int
    run_id: str


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
    role: Literal["generate", "train", "prove"]
    token: int


class Shard(Record):
    """A committed piece of the stream: pairs of the segments ``first_segment``..``last_segment``."""

    number: int
    key: str
    sha256: str
    first_segment: int
    last_segment: int
    pair_count: int


class StreamEnd(Record):
    """How the stream ended; ``checksum`` is the sha256 over the shards' sha256 in order."""

    state: Literal["complete", "failed"]
    shard_count: int
    pair_count: int
    checksum: str
    reason: str | None = None


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
    detail: dict[str, Any] = Field(default_factory=dict)


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

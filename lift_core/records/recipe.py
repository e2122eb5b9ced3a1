"""The recipe: all that shapes an adapter."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field, model_validator

from lift_core.records.base import Record

RECIPE_FORMAT = 1


class SegmentationRecipe(Record):
    """How the text is cut. The grain is a choice because the paper leaves its effect open.

    ``window``: whole sentences together, up to ``max_chars`` characters, within a paragraph or across them.
    ``splitter`` names the rules that find boundaries: other rules give other segments, so another adapter.
    """

    splitter: str = "blocks/1"
    grain: Literal["sentence", "paragraph", "window"] = "sentence"
    max_chars: int = Field(default=1200, ge=50)


class GeneratorRecipe(Record):
    """Who writes the pairs, and how.

    ``profile`` and ``profile_version`` name the prompt, which is data (``synthesis/profiles``): ``json`` asks
    an instruct model for ``pairs`` pairs as structured output, ``lines`` a small one for ``Q:``/``A:`` lines,
    ``answers`` a small one for at most ``pairs`` answers worth asking for and then for questions to each.
    ``cloze`` asks no model: it blanks a word of the segment, for smoke tests and for measuring orchestration
    alone. ``global_pairs`` pairs of each section need distant parts of it together (0: none).

    The model sees up to ``context_words`` words before the segment. ``sliding`` context moves with every
    segment; ``anchored`` context begins where a section or a paragraph does and grows, so that a server's
    prefix cache holds what the segment before had sent.
    """

    profile: Literal["answers", "lines", "json", "cloze"] = "lines"
    profile_version: int = Field(default=1, ge=1)
    model: str = "SmolLM2-135M-Instruct-questions"
    revision: str = "1"
    context_words: int = Field(default=60, ge=0)
    context_layout: Literal["sliding", "anchored"] = "sliding"
    pairs: int = Field(default=8, ge=1, le=20)
    global_pairs: int = Field(default=0, ge=0, le=20)
    greedy_samples: int = Field(default=1, ge=0)
    sampled: int = Field(default=5, ge=0)
    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=120, gt=0)
    seed: int = 0


class GateRecipe(Record):
    """What a pair must satisfy to be learned, and what a document's pairs must reach together.

    ``similarity`` of two questions' words (Jaccard, estimated by MinHash) from which the later one is a
    near-duplicate; 1: only equal ones. ``reader`` answers each question from the segment, at the generator's
    server, and must agree with the answer by a word F1 of ``agreement``; empty: nobody reads. It is asked
    for ``reads`` answers, of which ``agreeing_share`` must agree; a single one is its most likely.
    ``reader_profile_version`` 1 is the prompt that the embedded generator was taught, 2 one for instruct
    models. ``judge`` is a stronger model that is asked at ``LIFT_JUDGE_URL`` whether the source supports the
    pair. The generator is asked up to ``ask_again`` more times about a segment that no kept pair, or whose
    names and numbers no kept pair, touches. Shares are of 1.
    """

    grounded: bool = True
    max_pairs_per_segment: int = Field(default=8, gt=0)
    similarity: float = Field(default=1.0, gt=0, le=1)
    reader: str = ""
    reader_revision: str = ""
    reader_profile_version: int = Field(default=1, ge=1)
    agreement: float = Field(default=0.5, ge=0, le=1)
    reads: int = Field(default=1, ge=1, le=64)
    agreeing_share: float = Field(default=0.5, gt=0, le=1)
    judge: str = ""
    judge_revision: str = ""
    ask_again: int = Field(default=0, ge=0, le=10)
    min_pairs: int = Field(default=4, gt=0)
    min_kept_share: float = Field(default=0.0, ge=0, le=1)
    min_coverage: float = Field(default=0.0, ge=0, le=1)
    min_faithfulness: float = Field(default=0.0, ge=0, le=1)


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

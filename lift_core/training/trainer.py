"""The trainer: LoRA on a live stream of pairs.

Epoch 1 takes the pairs in document order as they arrive, starting with the first full step;
later epochs take them from the cache, shuffled by the recipe's seed. A step is a fixed number of
pairs, cut by content and never by a timeout: the same seed and pairs give the same adapter,
whatever the arrival times.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lift_core.errors import QualityError, TrainingDivergedError
from lift_core.records import QAPair, Recipe, TrainingResult
from lift_core.training.adapter_files import save_adapter
from lift_core.training.lora import fuse
from lift_core.training.packing import Encoder, Example, micro_packs, pack


@dataclass(frozen=True)
class TrainingProgress:
    """Where the training is: ``loss`` is the step's mean over answer tokens, in nats."""

    epoch: int
    step: int
    loss: float
    tokens_per_second: float


def train(
    pairs: Iterable[QAPair],
    *,
    recipe: Recipe,
    title: str,
    base_path: Path,
    out_dir: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingResult:
    """Train an adapter from pairs as they come and write it to ``out_dir``.

    Pairs that are held out are skipped.

    Raises:
        QualityError: there was nothing to train on.
        TrainingDivergedError: the loss is not a finite number any more.
    """
    from transformers import AutoTokenizer

    random_order = random.Random(recipe.training.seed)  # noqa: S311 - an order, not a secret
    torch.manual_seed(recipe.training.seed)
    encoder = Encoder(AutoTokenizer.from_pretrained(str(base_path)), recipe.training, title)
    model = load_with_lora(base_path, recipe)
    stepper = Stepper(model, recipe, encoder.prefix)

    losses: list[float] = []
    cache: list[Example] = []
    started: float | None = None
    for epoch in range(1, recipe.training.epochs + 1):
        if epoch == 1:
            examples: Iterable[Example] = (encoder.encode(pair) for pair in pairs if not pair.held_out)
        else:
            random_order.shuffle(cache)
            examples = list(cache)
        for batch in _batches(examples, recipe.training.pairs_per_step):
            started = started or time.monotonic()
            if epoch == 1:
                cache.extend(batch)
            losses.append(stepper.step(batch))
            if not math.isfinite(losses[-1]):
                raise TrainingDivergedError(
                    f"the loss is {losses[-1]} at step {len(losses)} (epoch {epoch}): "
                    f"lower the recipe's learning rate ({recipe.training.learning_rate:g})"
                )
            if on_progress is not None:
                seconds = time.monotonic() - started
                on_progress(
                    TrainingProgress(epoch, len(losses), losses[-1], stepper.tokens / max(seconds, 1e-9))
                )
    if not losses or started is None:
        raise QualityError("there are no pairs to train on")
    result = TrainingResult(
        steps=len(losses),
        pairs=len(cache),
        tokens=stepper.tokens,
        seconds=time.monotonic() - started,
        first_loss=losses[0],
        final_loss=sum(losses[-10:]) / len(losses[-10:]),
        losses=tuple(losses),
    )
    save_adapter(model, recipe, result, out_dir)
    return result


def load_with_lora(base_path: Path, recipe: Recipe) -> Any:
    """The frozen base model in the recipe's precision, with float32 LoRA matrices on it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(str(base_path), dtype=dtype, attn_implementation="sdpa")
    base.to("cuda" if torch.cuda.is_available() else "cpu")
    config = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        target_modules=list(recipe.lora.targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    fuse(model)
    model.train()
    return model


class Stepper:
    """One optimizer step at a time over packed pairs."""

    def __init__(self, model: Any, recipe: Recipe, prefix: Sequence[int]) -> None:
        self._base = model.get_base_model()
        self._device = next(model.parameters()).device
        self._dtype = torch.bfloat16 if recipe.training.precision == "bf16" else torch.float32
        self._budget = recipe.training.token_budget
        self._prefix = prefix
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=recipe.training.learning_rate,
            weight_decay=recipe.training.weight_decay,
            # One kernel for all matrices: hundreds of small ones cost more to start than to compute.
            fused=True,
        )
        self.tokens = 0

    def step(self, batch: Sequence[Example], rate: float | None = None) -> float:
        """Train on a batch, at the recipe's learning rate or another one.

        Returns the mean loss over the batch's answer tokens, in nats.
        """
        if rate is not None:
            for parameters in self._optimizer.param_groups:
                parameters["lr"] = rate
        answer_tokens = sum(len(example.answer) for example in batch)
        total = 0.0
        self._optimizer.zero_grad(set_to_none=True)
        for group in micro_packs(batch, len(self._prefix), self._budget):
            loss = self.loss_sum(group) / answer_tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self._optimizer.step()
        return total

    def loss_sum(self, group: Sequence[Example]) -> torch.Tensor:
        """Summed cross-entropy of a pack's answer tokens; vocabulary logits only where they are needed."""
        packed = pack(self._prefix, group, self._dtype)
        self.tokens += packed.ids.shape[1]
        hidden = self._base.model(
            input_ids=packed.ids.to(self._device),
            position_ids=packed.positions.to(self._device),
            attention_mask=packed.mask.to(self._device),
            use_cache=False,
        ).last_hidden_state[0]
        logits = self._base.lm_head(hidden[packed.sources.to(self._device)])
        return F.cross_entropy(logits.float(), packed.targets.to(self._device), reduction="sum")


def _batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    """Lists of ``size`` examples as they come; the last one may be shorter."""
    batch: list[Example] = []
    for example in examples:
        batch.append(example)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

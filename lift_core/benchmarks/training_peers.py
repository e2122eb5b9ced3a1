"""One arm of benchmark ``training``, in a process of its own: ours, transformers' Trainer, TRL's SFTTrainer.

``python -m lift_core.benchmarks.training_peers`` reads a job as JSON from stdin and writes a JSON object a
line: ``{"done": pairs}`` while it trains, ``{"outcome": …}`` at the end. All arms get the same tokens, LoRA
shape, precision, optimizer and rate, and the same number of pairs an optimizer step; the loss is the mean
over a step's answer tokens. The clock starts after the first steps.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lift_core.benchmarks.training_data import IGNORED, Arm, Job, Outcome, Question, Tokens, tokens_of
from lift_core.evaluation.scoring import f1

_ANSWER_TOKENS = 32
"""SQuAD's answers are a few words."""

Tell = Callable[[int], None]
"""Told how many pairs are trained."""


def perform(job: Job, tell: Tell) -> Outcome:
    """Train one arm in this process, and ask what it learned."""
    with tempfile.TemporaryDirectory(prefix="lift-bench-") as scratch:
        folder = Path(scratch)
        if job.arm.trainer == "lift":
            outcome = _train_ours(job, folder, tell)
        elif job.arm.trainer == "transformers":
            outcome = _train_peer(job, folder, tell)
        else:
            try:
                outcome = _train_peer(job, folder, tell)
            except (ImportError, ValueError, TypeError, RuntimeError) as error:
                # Not every setting runs on every device: which ones do not is part of what is reported.
                return Outcome(refused=f"{type(error).__name__}: {' '.join(str(error).split())}")
        return outcome.model_copy(update={"f1": _ask(job, folder)}) if job.learned else outcome


@dataclass
class Watch:
    """Times the steps after the warm-up, and looks at the first step while it is computed."""

    warm_up: int
    began: float = 0.0
    ended: float = 0.0
    warm_up_pairs: int = 0
    first_loss: float = 0.0
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def step_done(self, step: int, last: bool) -> None:
        """An optimizer step, counted from 1, is done."""
        if step == self.warm_up:
            self.began = _now()
        if last:
            self.ended = _now()


def _train_ours(job: Job, folder: Path, tell: Tell) -> Outcome:
    from lift_core.training import TrainingProgress, train

    training = job.recipe.training
    steps = training.epochs * -(-len(job.pairs) // training.pairs_per_step)
    watch = Watch(job.warm_up)

    def stepped(progress: TrainingProgress) -> None:
        watch.step_done(progress.step, last=progress.step == steps)
        tell(progress.step * training.pairs_per_step)

    result = train(
        list(job.pairs),
        recipe=job.recipe,
        title=job.title,
        base_path=job.base_path,
        out_dir=folder,
        on_progress=stepped,
    )
    watch.warm_up_pairs = job.warm_up * training.pairs_per_step
    watch.first_loss = result.first_loss
    return _outcome(job, watch)


def _train_peer(job: Job, folder: Path, tell: Tell) -> Outcome:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(job.base_path))
    rows = tokens_of(job.pairs, tokenizer, job.recipe.training, job.title)
    trainer = make_trainer(job, tokenizer, rows, folder)
    watch = Watch(job.warm_up)
    _look_on(
        trainer, watch, tokenizer.eos_token_id, lambda step: tell(step * job.recipe.training.pairs_per_step)
    )
    trainer.train()
    outcome = _outcome(job, watch)
    alone = _alone_loss(trainer.model, watch, rows)
    if job.learned:
        # Without embeddings PEFT does not ask the hub whether the vocabulary grew.
        trainer.model.save_pretrained(str(folder), save_embedding_layers=False)
    return outcome.model_copy(update={"alone_loss": alone})


def make_trainer(job: Job, tokenizer: Any, rows: Sequence[Tokens], folder: Path) -> Any:
    """The peer's trainer, ready to train: the base in the recipe's precision, LoRA as PEFT makes it.

    In bf16 it computes under autocast. Nothing is clipped, and no activations are computed anew to save
    memory: that costs time.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    arm, training, lora = job.arm, job.recipe.training, job.recipe.lora
    on_gpu, low = torch.cuda.is_available(), training.precision == "bf16"
    torch.manual_seed(training.seed)
    base = AutoModelForCausalLM.from_pretrained(
        str(job.base_path),
        dtype=torch.bfloat16 if low else torch.float32,
        attn_implementation=arm.attention,
    )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    arguments: dict[str, Any] = {
        "output_dir": str(folder / "trainer"),
        "per_device_train_batch_size": 1 if arm.packing else arm.rows,
        "gradient_accumulation_steps": arm.passes,
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "max_grad_norm": 0.0,
        "bf16": low,
        # Without it transformers refuses bf16 where there is no GPU.
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "train_sampling_strategy": arm.order,
        "seed": training.seed,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": on_gpu,
    }
    if arm.trainer == "transformers":
        return Trainer(
            model=get_peft_model(base, config),
            args=TrainingArguments(**arguments),
            train_dataset=list(rows),
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
        )
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dataset = Dataset.from_list(list(rows))
    return SFTTrainer(
        model=base,
        args=SFTConfig(
            **arguments,
            max_length=pack_length(dataset, arm) if arm.packing else None,
            packing=arm.packing is not None,
            packing_strategy=arm.packing or "bfd",
            padding_free=arm.padding_free,
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=config,
    )


def pack_length(dataset: Any, arm: Arm) -> int:
    """The shortest packs, in tokens, of those that hold ``arm.rows`` pairs on average or more."""
    from trl import pack_dataset

    lengths = [len(ids) for ids in dataset["input_ids"]]
    wanted = max(1, len(lengths) // arm.rows)
    shortest = max(*lengths, -(-sum(lengths) // wanted))
    longest = max(shortest, sum(lengths))
    while shortest < longest:
        middle = (shortest + longest) // 2
        if len(pack_dataset(dataset, middle, arm.packing)) <= wanted:
            longest = middle
        else:
            shortest = middle + 1
    return longest


def _look_on(trainer: Any, watch: Watch, end: int, tell_step: Callable[[int], None]) -> None:
    """Let ``watch`` see the trainer's steps. Pairs are counted by the one end token that each learns."""
    from transformers import TrainerCallback

    class StepDone(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.step_done(state.global_step, last=state.global_step == state.max_steps)
            tell_step(state.global_step)

    trainer.add_callback(StepDone())
    plain = trainer.training_step

    def training_step(model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        step = trainer.state.global_step
        if step < watch.warm_up:
            watch.warm_up_pairs += int((inputs["labels"] == end).sum())
        if step == 0:
            mask = inputs.get("attention_mask")
            real = inputs["input_ids"] >= 0 if mask is None else mask.bool()
            watch.ids += inputs["input_ids"][real].tolist()
            watch.labels += inputs["labels"][real].tolist()
        loss = plain(model, inputs, num_items_in_batch)
        if step == 0:
            watch.first_loss += loss.item()
        return loss

    trainer.training_step = training_step


def _alone_loss(model: Any, watch: Watch, rows: Sequence[Tokens]) -> float:
    """The base model's loss for what the first step learned, each pair read by itself.

    The pairs are found again by their common beginning. What was cut off from its beginning stays cut off.
    """
    import torch
    import torch.nn.functional as F

    columns = zip(*(row["input_ids"] for row in rows), strict=False)
    prefix = [column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns)]
    width = len(prefix)
    begins = [at for at in range(len(watch.ids)) if watch.ids[at : at + width] == prefix]
    total = tokens = 0.0
    with torch.no_grad(), model.disable_adapter():
        for begin, end in zip(begins, [*begins[1:], len(watch.ids)], strict=True):
            ids = torch.tensor([watch.ids[begin:end]], device=model.device)
            labels = torch.tensor(watch.labels[begin + 1 : end], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            total += F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
            tokens += int((labels != IGNORED).sum())
    return total / tokens


def _outcome(job: Job, watch: Watch) -> Outcome:
    import torch

    on_gpu = torch.cuda.is_available()
    return Outcome(
        pairs=job.recipe.training.epochs * len(job.pairs) - watch.warm_up_pairs,
        seconds=watch.ended - watch.began,
        peak=_peak_memory(),
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        device_peak=torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
        first_loss=watch.first_loss,
    )


def _ask(job: Job, folder: Path) -> dict[str, float]:
    """Mean closed-book F1 of the adapter in ``folder``."""
    from lift_core.evaluation.closed_book import answers
    from lift_core.evaluation.loading import add_adapter, fastest_dtype, load_base

    base, tokenizer = load_base(job.base_path, fastest_dtype(job.recipe.training.precision))
    model = add_adapter(base, folder)

    def mean(questions: Sequence[Question]) -> float:
        asked = [each.question for each in questions]
        said = answers(model, tokenizer, job.recipe, job.title, asked, max_tokens=_ANSWER_TOKENS)
        scores = [f1(one, each.answers) for one, each in zip(said, questions, strict=True)]
        return sum(scores) / len(scores)

    found = {"learned": mean(job.learned), "other": mean(job.other)}
    if job.ask_base:
        with model.disable_adapter():
            found |= {"learned, base": mean(job.learned), "other, base": mean(job.other)}
    return found


def _now() -> float:
    """The time in seconds, when all that was given to the GPU is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_memory() -> float:
    """The most memory that this process has had resident, in GiB."""
    # Not ru_maxrss: that is kept over exec, so a child would begin with its parent's.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("/proc/self/status has no VmHWM: the benchmark needs Linux")


def main() -> None:
    """Perform the job from stdin. What libraries print goes to stderr: stdout is for the parent alone."""
    with os.fdopen(os.dup(1), "w", buffering=1) as parent:
        os.dup2(2, 1)
        job = Job.model_validate_json(sys.stdin.read())

        def tell(done: int) -> None:
            parent.write(json.dumps({"done": done}) + "\n")

        outcome = perform(job, tell)
        parent.write(json.dumps({"outcome": outcome.model_dump(mode="json")}) + "\n")


if __name__ == "__main__":
    main()

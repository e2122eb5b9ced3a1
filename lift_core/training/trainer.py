"""The trainer: LoRA on live streams of pairs, for one document or for several at once.

Documents that share base model, precision and LoRA shape are trained in the same passes, each with an adapter
of its own on the same frozen base; what each learns is what it would learn alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from lift_core.errors import (
    FencedError,
    InterruptedTrainingError,
    LiftError,
    QualityError,
    TrainingDivergedError,
    TransientError,
)
from lift_core.records import QAPair, Recipe, TrainingResult
from lift_core.training.adapter_files import save_adapter
from lift_core.training.backbone import Adapters, Backbone
from lift_core.training.checkpoint import Checkpointing, Checkpoints
from lift_core.training.course import Course, CourseStep, Document
from lift_core.training.device import peak_flops, peak_memory
from lift_core.training.interruption import Interruption
from lift_core.training.packing import Batch
from lift_core.training.stepper import Stepper

CHECKPOINT_SECONDS = 30.0
_log = structlog.get_logger("lift.training")


@dataclass(frozen=True)
class TrainingProgress:
    """Where a document's training is: ``loss`` is the step's mean over answer tokens, in nats.

    ``utilisation`` is the share of the card's peak, where that is known; ``peak_memory`` is in bytes.
    """

    name: str
    epoch: int
    step: int
    loss: float
    tokens_per_second: float
    flops_per_second: float
    utilisation: float | None
    peak_memory: int


OnProgress = Callable[[TrainingProgress], None]


def train(
    pairs: Iterable[QAPair],
    *,
    recipe: Recipe,
    title: str,
    base_path: Path,
    out_dir: Path,
    text: str = "",
    on_progress: OnProgress | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    backbone: Backbone | None = None,
) -> TrainingResult:
    """Train an adapter from pairs as they come and write it to ``out_dir``.

    Pairs that are held out are not learned; the loss on them is taken after each epoch. ``backbone`` is a
    base model that is loaded already. With ``checkpoints`` the training goes on where an earlier process was
    killed.

    Raises:
        QualityError: there was nothing to train on.
        TrainingDivergedError: the loss is not a finite number any more.
        InterruptedTrainingError: the process was told to leave; a checkpoint was taken.
    """
    backbone = backbone or Backbone(base_path, recipe.training.precision)
    document = Document("default", pairs, recipe, title, out_dir, text)
    kept = {"default": checkpoints} if checkpoints is not None else {}
    outcome = train_together(
        [document], backbone, checkpoints=kept, checkpoint_seconds=checkpoint_seconds, on_progress=on_progress
    )["default"]
    if isinstance(outcome, LiftError):
        raise outcome
    return outcome


def train_together(
    documents: Sequence[Document],
    backbone: Backbone,
    *,
    checkpoints: Mapping[str, Checkpoints] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_progress: OnProgress | None = None,
) -> dict[str, TrainingResult | LiftError]:
    """Train several documents' adapters in the same passes.

    Their recipes may differ in all but base model, precision and LoRA shape. A document whose stream ends
    with an error, or whose loss diverges, leaves the others as they are: its outcome is that error.

    Raises:
        ValueError: the recipes do not fit together, two documents have one name, or a name has a dot.
        InterruptedTrainingError: the process was told to leave; every checkpoint was taken.
        TransientError: another process of this training has ended, or does not answer.
    """
    _check_fit(documents)
    names = [document.name for document in documents]
    seeds = [document.recipe.training.seed for document in documents]
    with (
        TemporaryDirectory(prefix="lift-checkpoints-") as scratch,
        backbone.adapters(names, documents[0].recipe.lora, seeds) as adapters,
        Interruption() as interruption,
    ):
        stepper = Stepper(adapters, {document.name: document.recipe.training for document in documents})
        trainings: list[_Training] = []
        for document in documents:
            kept = (checkpoints or {}).get(document.name)
            folder = Path(scratch) / str(len(trainings))
            folder.mkdir()
            saving = None if kept is None else Checkpointing(kept, folder, checkpoint_seconds)
            trainings.append(_Training(document, adapters, stepper, saving, on_progress))
        outcomes = _run(trainings, stepper, interruption)
        stepper.compare([name for name, each in outcomes.items() if isinstance(each, TrainingResult)])
        return outcomes


def _check_fit(documents: Sequence[Document]) -> None:
    if len({document.name for document in documents}) < len(documents):
        raise ValueError("two documents that are trained together have one name")
    if dotted := [document.name for document in documents if "." in document.name]:
        raise ValueError(f"the name '{dotted[0]}' has a dot, which PyTorch refuses in an adapter's")
    shapes = {
        (each.recipe.base_model, each.recipe.base_revision, each.recipe.training.precision, each.recipe.lora)
        for each in documents
    }
    if len(shapes) != 1:
        raise ValueError(
            "documents are trained together only with the same base model, precision and LoRA shape; "
            f"these have {len(shapes)} different ones"
        )


def _run(
    trainings: Sequence[_Training], stepper: Stepper, interruption: Interruption
) -> dict[str, TrainingResult | LiftError]:
    outcomes: dict[str, TrainingResult | LiftError] = {}
    under_way = list(trainings)
    while under_way:
        chosen: list[tuple[_Training, CourseStep]] = []
        for training in list(under_way):
            try:
                with interruption.at_once():
                    step = training.next_step()
            except InterruptedTrainingError:
                _leave(under_way)
                raise
            except LiftError as error:
                outcomes[training.name] = error
                under_way.remove(training)
                continue
            if step is None:
                outcomes[training.name] = training.finish()
                under_way.remove(training)
            else:
                chosen.append((training, step))
        if not chosen:
            continue
        began = time.monotonic()
        losses = stepper.step(
            [Batch(training.name, step.prefix, step.examples) for training, step in chosen],
            {training.name: training.course.rate(step) for training, step in chosen},
        )
        seconds = time.monotonic() - began
        for training, step in chosen:
            try:
                training.stepped(step, losses[training.name], seconds / len(chosen))
            except LiftError as error:
                outcomes[training.name] = error
                under_way.remove(training)
        if interruption.asked:
            _leave(under_way)
            raise InterruptedTrainingError("the process was told to leave while it trained")
    return outcomes


def _leave(under_way: Sequence[_Training]) -> None:
    for training in under_way:
        try:
            training.checkpoint()
        except FencedError:
            _log.info("another attempt has this training", document=training.course.document.title)


class _Training:
    """One document among those that are trained: its course, its place in it, its checkpoints."""

    def __init__(
        self,
        document: Document,
        adapters: Adapters,
        stepper: Stepper,
        saving: Checkpointing | None,
        on_progress: OnProgress | None,
    ) -> None:
        self.name = document.name
        self.course = Course(document, adapters.backbone.tokenizer)
        self._adapters = adapters
        self._stepper = stepper
        self._saving = saving
        self._on_progress = on_progress
        self._best = saving.restore(self.course, stepper) if saving is not None else {}
        self._steps: Iterator[CourseStep] = self.course.steps(done=len(self.course.losses))

    def next_step(self) -> CourseStep | None:
        """The next step; None at the end. At the end of an epoch the held-out pairs are looked at."""
        step = next(self._steps, None)
        if not self.course.losses and step is None:
            raise QualityError("there are no pairs to train on")
        ended = self.course.recipe.epochs if step is None else step.epoch - 1
        if self.course.held_out and len(self.course.held_out_losses) < ended:
            self._look_at_held_out()
        return None if self.course.is_overdue else step

    def stepped(self, step: CourseStep, loss: float, seconds: float) -> None:
        """Note what a step brought.

        Raises:
            TrainingDivergedError: the loss is not a finite number any more.
            FencedError: another attempt has the training.
        """
        course = self.course
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the loss is {loss} at step {step.number} (epoch {step.epoch}): "
                f"lower the recipe's learning rate ({course.recipe.learning_rate:g})"
            )
        course.losses.append(loss)
        course.seconds += seconds
        if self._saving is not None and self._saving.due:
            self.checkpoint()
        if self._on_progress is not None:
            elapsed = max(course.seconds, 1e-9)
            speed = self._stepper.flops(self.name) / elapsed
            self._on_progress(
                TrainingProgress(
                    self.name,
                    step.epoch,
                    step.number,
                    loss,
                    tokens_per_second=self._stepper.tokens[self.name] / elapsed,
                    flops_per_second=speed,
                    utilisation=self._share_of_peak(speed),
                    peak_memory=peak_memory(),
                )
            )

    def checkpoint(self) -> None:
        """Save where the training is, if it is to be saved. Where that cannot be reached just now, the
        training goes on without."""
        if self._saving is None or not self.course.losses:
            return
        try:
            self._saving.take(self.course, self._stepper, self._best)
        except TransientError as error:
            _log.warning("no checkpoint was saved", document=self.course.document.title, error=str(error))

    def finish(self) -> TrainingResult:
        """Write the adapter's files."""
        course = self.course
        if self._best:
            self._stepper.load_weights(self.name, self._best)
        flops = self._stepper.flops(self.name)
        result = TrainingResult(
            steps=len(course.losses),
            pairs=course.pairs,
            tokens=self._stepper.tokens[self.name],
            seconds=course.seconds,
            first_loss=course.losses[0],
            final_loss=sum(course.losses[-10:]) / len(course.losses[-10:]),
            losses=tuple(course.losses),
            held_out_losses=tuple(course.held_out_losses),
            epochs=course.best_epoch if self._best else course.recipe.epochs,
            flops=flops,
            utilisation=self._share_of_peak(flops / max(course.seconds, 1e-9)),
            peak_memory=peak_memory(),
        )
        save_adapter(self._adapters.model, course.document.recipe, result, course.document.out_dir, self.name)
        return result

    def _look_at_held_out(self) -> None:
        batch = Batch(self.name, self.course.encoder.prefix, tuple(self.course.held_out))
        self.course.held_out_losses.append(self._stepper.mean_loss(batch))
        if self.course.recipe.patience and self.course.best_epoch == len(self.course.held_out_losses):
            self._best = self._stepper.weights(self.name)

    def _share_of_peak(self, flops_per_second: float) -> float | None:
        peak = peak_flops()
        return None if peak is None else flops_per_second / (peak * self._adapters.backbone.ranks.size)

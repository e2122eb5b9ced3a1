"""Streams of pairs to LoRA adapters."""

from lift_core.training.adapter_files import sha256_files
from lift_core.training.backbone import Backbone
from lift_core.training.checkpoint import Checkpoints
from lift_core.training.course import Document
from lift_core.training.trainer import TrainingProgress, train, train_together

__all__ = [
    "Backbone",
    "Checkpoints",
    "Document",
    "TrainingProgress",
    "sha256_files",
    "train",
    "train_together",
]

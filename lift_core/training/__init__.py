"""A stream of pairs to a LoRA adapter."""

from lift_core.training.adapter_files import sha256_files
from lift_core.training.trainer import TrainingProgress, train

__all__ = ["TrainingProgress", "sha256_files", "train"]

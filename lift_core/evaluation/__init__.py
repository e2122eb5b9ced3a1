"""Proving adapters, and scoring answers. The proof, which needs torch, is in ``evaluation.proof``."""

from lift_core.evaluation.scoring import f1

__all__ = ["f1"]

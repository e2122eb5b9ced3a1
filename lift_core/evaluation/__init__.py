"""Proving adapters, and scoring answers."""

from lift_core.evaluation.scoring import f1

__all__ = ["f1", "prove"]


def __getattr__(name: str) -> object:
    """Load the proof, and torch with it, only when it is asked for: scoring needs neither."""
    if name == "prove":
        from lift_core.evaluation.proof import prove

        return prove
    raise AttributeError(name)

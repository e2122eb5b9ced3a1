"""Segments to question-answer pairs: prompts, the generator's client, the gate."""

from lift_core.synthesis.gate import Gate, normalised_question
from lift_core.synthesis.writing import write_pairs

__all__ = ["Gate", "normalised_question", "write_pairs"]

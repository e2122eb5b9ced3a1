"""Segments to question-answer pairs: prompts, the models' clients, the gate, the report."""

from lift_core.synthesis.gate import Gate, reasons
from lift_core.synthesis.progress import Progress, ProgressMeter
from lift_core.synthesis.report import report_of
from lift_core.synthesis.writing import PairWriter, write_pairs

__all__ = ["Gate", "PairWriter", "Progress", "ProgressMeter", "reasons", "report_of", "write_pairs"]

"""The quality gate: cheap checks, round trip, judge; every rejection carries a reason."""

from lift_core.synthesis.gate.duplicates import normalised_question
from lift_core.synthesis.gate.gate import Gate
from lift_core.synthesis.gate.judging import judge
from lift_core.synthesis.gate.reasons import Reason, reasons
from lift_core.synthesis.gate.round_trip import READING_TEMPERATURE, read_back

__all__ = [
    "READING_TEMPERATURE",
    "Gate",
    "Reason",
    "judge",
    "normalised_question",
    "read_back",
    "reasons",
]

"""Which segments, names and numbers the kept pairs touch."""

from lift_core.records import QAPair, Segment
from lift_core.synthesis.coverage import coverage_of, untouched

TEXTS = [
    "Odo Krell built the lighthouse of Marra in 1712.",
    "It burns 40 barrels of oil.",
    "Then 40 ships came.",
]
SEGMENTS = [Segment(number=n, start=0, end=len(text), text=text) for n, text in enumerate(TEXTS)]


def pair(segment, question, answer):
    return QAPair(segment=segment, question=question, answer=answer)


def test_what_no_pair_touches():
    covered = coverage_of(
        SEGMENTS, [pair(0, "Who built it in 1712?", "Krell"), pair(1, "How many?", "forty")]
    )
    assert round(covered.segments, 3) == 0.667
    assert covered.uncovered_segments == (2,)
    assert (covered.names, covered.uncovered_names) == (0.5, ("Marra",))
    assert (round(covered.numbers, 3), covered.uncovered_numbers) == (0.667, ("40",))


def test_nothing_and_everything():
    nothing = coverage_of(SEGMENTS, [])
    assert (nothing.segments, nothing.names, nothing.numbers) == (0, 0, 0)
    assert nothing.uncovered_numbers == ("1712", "40")
    plain = [Segment(number=0, start=0, end=9, text="It burns.")]
    everything = coverage_of(plain, [pair(0, "Does it burn?", "yes")])
    assert (everything.segments, everything.names, everything.numbers) == (1, 1, 1)
    assert coverage_of([], []).segments == 1


def test_what_a_segments_pairs_leave_untouched():
    assert untouched(TEXTS[0], []) == ("Odo Krell", "Marra", "1712")
    assert untouched(TEXTS[0], [pair(0, "Who built the lighthouse of Marra?", "Krell")]) == ("1712",)

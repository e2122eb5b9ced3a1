"""What the second look at a pair sees of its document."""

import pytest

from lift_core.documents import split
from lift_core.records import SegmentationRecipe
from lift_core.synthesis.faithfulness import wider_context


def segments_of(text):
    return split(text, SegmentationRecipe())


def test_the_rest_of_the_paragraph_and_what_precedes_it_are_seen():
    text = (
        "# Organs\n\nThe old organ stood in Vellmar.\n\nOdo Krell built the new one alone.  It has ninety "
        "pipes of oak. Nobody plays it today.\n\nAda Harrow sold the house in spring."
    )
    (segment,) = [each for each in segments_of(text) if "ninety pipes" in each.text]
    assert wider_context(text, segment) == (
        "# Organs The old organ stood in Vellmar. Odo Krell built the new one alone. It has ninety pipes of "
        "oak. Nobody plays it today."
    )


@pytest.mark.parametrize("number", [0, 150, 299])
def test_of_a_paragraph_without_end_only_a_part_is_seen(number):
    text = " ".join(f"Lighthouse {n} of Marra was built in {1500 + n}." for n in range(300))
    segment = segments_of(text)[number]
    seen = wider_context(text, segment)
    assert segment.text in seen
    # Digits and signs count as tokens of their own, which they are for many models.
    assert sum(not each.isalpha() and not each.isspace() for each in seen) <= 800 + 400 + 20
    assert len(seen) < 5000
    words = set(text.split())
    assert all(word in words for word in seen.split()), "half a word"


@pytest.mark.parametrize("letter", ["東", "é", "7"])
def test_a_text_without_blanks_is_bounded_too(letter):
    text = f"{letter * 5000}. It ends here."
    segment = segments_of(text)[-1]
    assert 10 < len(wider_context(text, segment).encode()) < 1400

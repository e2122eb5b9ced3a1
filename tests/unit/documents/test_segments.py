"""Segments: exact offsets, nothing lost, abbreviations and lists left whole."""

import pytest

from lift_core.documents import split
from lift_core.records import SegmentationRecipe

TEXT = """# The Lighthouse

Dr. Krell built it in 1712. It cost 4.5 million crowns, i.e. half a year's taxes!
Its keeper, J. R. Vanterpool, came
from Marra.

- first lamp: seal oil
- second lamp: coal gas

| lamp | year |
| oil  | 1712 |

Was it ever dark? Nobody remembers that.
"""


def texts(text, **options):
    return [segment.text for segment in split(text, SegmentationRecipe(**options))]


def test_sentences_headings_lists_and_tables():
    assert texts(TEXT) == [
        "# The Lighthouse",
        "Dr. Krell built it in 1712.",
        "It cost 4.5 million crowns, i.e. half a year's taxes!",
        "Its keeper, J. R. Vanterpool, came\nfrom Marra.",
        "- first lamp: seal oil",
        "- second lamp: coal gas",
        "| lamp | year |",
        "| oil  | 1712 |",
        "Was it ever dark?",
        "Nobody remembers that.",
    ]


def test_paragraphs_stay_whole():
    assert texts(TEXT, grain="paragraph")[1].startswith("Dr. Krell built it")
    assert texts(TEXT, grain="paragraph")[1].endswith("from Marra.")


@pytest.mark.parametrize("grain", ["sentence", "paragraph"])
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "word " * 2000,
        "x" * 5000,
        "灯台は1712年に建てられた。とても高い。",
        "a\n\nb\n\n\nc d e f g h i j",
    ],
)
def test_offsets_are_exact_and_nothing_but_white_space_is_lost(text, grain):
    segments = split(text, SegmentationRecipe(grain=grain))
    assert [s.number for s in segments] == list(range(len(segments)))
    position = 0
    for segment in segments:
        assert text[segment.start : segment.end] == segment.text
        assert not text[position : segment.start].strip()
        position = segment.end
    assert not text[position:].strip()


def test_no_segment_is_longer_than_the_recipe_allows():
    assert max(len(t) for t in texts("word " * 2000, max_chars=300)) <= 300

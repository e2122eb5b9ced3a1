"""Segments: exact offsets, nothing lost, whole statements at every grain."""

import random
import string

import pytest

from lift_core.documents import split
from lift_core.errors import RecipeError
from lift_core.records import SegmentationRecipe

TEXT = """# The Lighthouse

Dr. Krell built it in 1712. It cost 4.5 million crowns, i.e. half a year's taxes!
Its keeper, J. R. Vanterpool, came
from Marra.

- first lamp: seal oil
- second lamp: coal gas

| lamp | year |
| --- | --- |
| oil  | 1712 |

Was it ever dark? Nobody remembers that.
"""
GRAINS = ("sentence", "paragraph", "window")


def texts(text, **options):
    return [segment.text for segment in split(text, SegmentationRecipe(**options))]


def test_sentences_headings_lists_and_tables():
    assert texts(TEXT) == [
        "# The Lighthouse\n\nDr. Krell built it in 1712.",
        "It cost 4.5 million crowns, i.e. half a year's taxes!",
        "Its keeper, J. R. Vanterpool, came\nfrom Marra.",
        "- first lamp: seal oil\n- second lamp: coal gas\n\n| lamp | year |\n| --- | --- |\n| oil  | 1712 |",
        "Was it ever dark?",
        "Nobody remembers that.",
    ]


def test_paragraphs_stay_whole_and_long_ones_are_cut_between_sentences():
    found = texts(TEXT, grain="paragraph")
    assert found[0].startswith("# The Lighthouse\n\nDr. Krell built it")
    assert found[0].endswith("from Marra.")
    sentence = "The keeper trimmed the lamp at nine. "
    long = texts(sentence * 20, grain="paragraph", max_chars=100)
    assert long == [(sentence * 2).strip()] * 10


class TestWindow:
    """Whole sentences together, up to the limit."""

    def test_sentences_of_several_paragraphs_fill_a_window(self):
        text = "One lamp was lit. Two were not.\n\nThe sea was calm. The keeper slept until noon."
        assert texts(text, grain="window", max_chars=70) == [
            "One lamp was lit. Two were not.\n\nThe sea was calm.",
            "The keeper slept until noon.",
        ]
        assert texts(text, grain="window") == [text]

    def test_a_heading_begins_a_window_and_is_never_its_end(self):
        text = (
            "## Lamps\n\nThey burned oil.\n\n## Keepers\n\nKrell was the first.\n\n"
            "## Storms\n\nNone was worse."
        )
        assert texts(text, grain="window") == [
            "## Lamps\n\nThey burned oil.",
            "## Keepers\n\nKrell was the first.",
            "## Storms\n\nNone was worse.",
        ]

    def test_only_a_sentence_that_alone_is_too_long_is_cut(self):
        long = "The keeper, " + "who saw the sea, " * 20 + "slept."
        found = texts(f"It was night. {long} He woke.", grain="window", max_chars=120)
        assert found[0] == "It was night."
        assert all(part.endswith(",") for part in found[1:-2])
        assert found[-1].endswith("He woke.")


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "word " * 2000,
        "x" * 5000,
        "灯台は1712年に建てられた。とても高い。",
        "a\n\nb\n\n\nc d e f g h i j",
        "\n> quoted\n> twice. And on.\n\n\t```\nx. Y.\n```\n::\n\n  code\n|a|\n---\n",
        "(a. b.) [12]. “C. D.” ... !!! 1. 2. 3. i. ii. A. B. §§ 1.1 Foo. .. _x: y\x0c\u2028Z.",
        "&amp; a.m. U.S. e.g. ?! ♫. ∯ ☏. ȸȹ ᓰ ƪƪƪ ♟ ♝. More.",
        "",
        " \n\t ",
    ],
)
def test_offsets_are_exact_and_nothing_but_white_space_is_lost(text, grain):
    for limit in (50, 1200):
        segments = split(text, SegmentationRecipe(grain=grain, max_chars=limit))
        assert [s.number for s in segments] == list(range(len(segments)))
        position = 0
        for segment in segments:
            assert text[segment.start : segment.end] == segment.text
            assert segment.text == segment.text.strip() != ""
            assert not text[position : segment.start].strip()
            position = segment.end
        assert not text[position:].strip()
        assert max((len(s.text) for s in segments), default=0) <= limit


@pytest.mark.parametrize("seed", range(20))
def test_offsets_are_exact_whatever_the_text(seed):
    order = random.Random(seed)
    signs = [*string.ascii_letters, *"0123456789", *".!?:;,()[]{}\"'`|#>*-=~_+&«»“”…。", *" \n\t" * 8]
    text = "".join(order.choices(signs, k=1500))
    for grain in GRAINS:
        segments = split(text, SegmentationRecipe(grain=grain, max_chars=80))
        assert "".join("".join(s.text.split()) for s in segments) == "".join(text.split())
        assert all(text[s.start : s.end] == s.text for s in segments)


def test_no_segment_is_longer_than_the_recipe_allows():
    assert max(len(t) for t in texts("word " * 2000, max_chars=300)) <= 300


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "Er kam am 3. Oktober 1950, z. B. mit Dr. Krell. Das ist nicht von mir. Und was ist mit der See?",
            3,
        ),
        ("El Sr. Pérez llegó a la torre. ¿Qué hora es en la casa? Son las cinco de la tarde.", 3),
        ("Il a dit : « Bonjour ! » Puis il est parti dans la nuit avec une lampe.", 2),
        ("Дом построен в 1712 г. в Москве. Он очень высок.", 2),
        ("灯台は1712年に建てられた。とても高い塔である、それは誰も知らない。", 2),
        ("灯塔建于一七一二年，由工匠建造而成。它很高，谁也不知道为什么！", 2),
        ("यह मीनार सत्रह सौ बारह में बनी थी। यह बहुत ऊँची है।", 2),
        ("بنيت المنارة عام ألف وسبعمئة. هل هي عالية جدا؟ نعم، هي أعلى من البيت.", 3),
    ],
)
def test_the_language_is_told_by_the_text_and_its_rules_are_used(text, sentences):
    assert len(texts(text)) == sentences


def test_rules_that_this_version_does_not_have_are_refused_by_name():
    with pytest.raises(RecipeError, match="splitter 'blocks/9' is unknown; this version has blocks/1"):
        split("One. Two.", SegmentationRecipe(splitter="blocks/9"))

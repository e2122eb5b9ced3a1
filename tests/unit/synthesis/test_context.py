"""What stands before a segment: where it begins, how much of it neighbouring prompts share, what it costs."""

import re
from collections import Counter
from itertools import pairwise, takewhile

import pytest

from lift_core.records import GeneratorRecipe, Segment
from lift_core.synthesis.context import Contexts
from lift_core.synthesis.profiles import load_profile
from lift_core.synthesis.prompts import context_before, writing_prompt

NOUNS = ("Tower", "lamp", "stair", "door", "wall", "roof", "bell", "flag", "sea")


def sentences(first, count):
    """Sentences of nine words; no word occurs twice."""
    return " ".join(" ".join(f"{noun}{n}" for noun in NOUNS) + "." for n in range(first, first + count))


def made(text, words=60, layout="anchored", pattern=r"#+ .*|[^\s.][^.]*\."):
    """Headings and sentences of a text, and their contexts."""
    segments = [
        Segment(number=number, start=found.start(), end=found.end(), text=found[0])
        for number, found in enumerate(re.finditer(pattern, text))
    ]
    return segments, Contexts(text, segments, GeneratorRecipe(context_words=words, context_layout=layout))


def contexts(text, words=60, layout="anchored"):
    segments, found = made(text, words, layout)
    return [found.before(segment) for segment in segments]


PARAGRAPHS = "\n\n".join(sentences(10 * n, 5) for n in range(12))
"""Twelve paragraphs of 45 words."""
ONE_PARAGRAPH = sentences(0, 80)
SECTIONS = "\n\n".join(f"## Part {part}\n\n{sentences(100 * part, 20)}" for part in range(3))


# --- sliding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [0, 3, 20, 1000])
@pytest.mark.parametrize("text", [PARAGRAPHS, SECTIONS, "  Indented is this line.\n\n\n\nAnd that one too."])
def test_sliding_is_what_the_shipped_generator_was_taught_with(text, words):
    segments, found = made(text, words, "sliding")
    for segment in segments:
        assert " ".join(found.before(segment).split()) == context_before(text, segment.start, words)


# --- anchored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [PARAGRAPHS, ONE_PARAGRAPH, SECTIONS], ids=["paragraphs", "one", "sections"])
@pytest.mark.parametrize("words", [30, 60, 200])
def test_a_context_holds_at_most_its_words_and_once_it_was_full_at_least_half(text, words):
    full = False
    for before in contexts(text, words):
        count = len(before.split())
        assert count <= words
        if not before or before.startswith("## Part"):
            full = False
        if full:
            assert count >= words / 2
        full = full or count > words - 9


def test_it_is_the_documents_text_up_to_the_segment():
    segments, found = made(PARAGRAPHS)
    for segment in segments:
        before = found.before(segment)
        end = len(PARAGRAPHS[: segment.start].rstrip())
        assert PARAGRAPHS[end - len(before) : end] == before


def test_it_begins_at_a_section_or_a_paragraph_where_it_can():
    begins = {before.splitlines()[0] for before in contexts(SECTIONS, 1000) if before}
    assert begins == {"## Part 0", "## Part 1", "## Part 2"}
    paragraphs = PARAGRAPHS.split("\n\n")
    for before in contexts(PARAGRAPHS, 100):
        assert not before or any(paragraph.startswith(before[:20]) for paragraph in paragraphs)


def test_it_begins_at_a_segment_where_a_paragraph_is_too_long():
    assert all(before.startswith("Tower") for before in contexts(ONE_PARAGRAPH, 60) if before)


def test_segments_longer_than_the_context_leave_its_last_words():
    text = "\n\n".join(sentences(10 * n, 5) for n in range(3))
    segments, found = made(text, 20, pattern=r".+")
    assert [len(found.before(segment).split()) for segment in segments] == [0, 20, 20]


def test_no_context_is_no_context():
    assert set(contexts(PARAGRAPHS, 0)) == {""}


# --- what a prefix cache holds ----------------------------------------------------------------


def words_sent_anew(text, words, layout):
    """Words of each prompt from the first on that the prompt before did not have in the same place."""
    segments, found = made(text, words, layout)
    prompts = [
        writing_prompt(
            load_profile("lines", 1),
            title="Marra",
            context=found.before(segment),
            segment=segment.text,
            pairs=8,
        ).text.split()
        for segment in segments
    ]
    anew = []
    for one, other in pairwise(prompts):
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        anew.append(len(other) - shared)
    return anew


def test_neighbouring_prompts_share_all_but_the_last_segment():
    anew = words_sent_anew(ONE_PARAGRAPH, 340, "anchored")
    # Nine words of the segment before, which are context now, nine of the segment, seven of the prompt.
    assert Counter(anew) == {9 + 9 + 7: 76, 171 + 9 + 7: 3}
    # It holds 37 sentences before it must jump, and 19 after, the fewest that are half of 340 words.
    assert [number for number, count in enumerate(anew, start=1) if count > 25] == [38, 57, 76]


def test_a_sliding_window_shares_nothing_and_an_anchored_one_sends_a_fraction():
    sliding = words_sent_anew(ONE_PARAGRAPH, 340, "sliding")
    assert sliding[-1] == 340 + 9 + 7
    # Each word is sent as a segment, as context, and at most once more after a jump.
    assert sum(words_sent_anew(ONE_PARAGRAPH, 340, "anchored")) <= 80 * (9 + 7) + 2 * 80 * 9
    assert sum(sliding) > 5 * sum(words_sent_anew(ONE_PARAGRAPH, 340, "anchored"))


class Counted(str):
    """Counts how many characters are looked at by slicing."""

    seen = 0

    def __getitem__(self, at):
        part = super().__getitem__(at)
        Counted.seen += len(part)
        return part


def test_the_work_grows_with_the_document_and_not_with_its_square():
    seen = []
    for count in (100, 400):
        text = Counted(sentences(1000, count))
        segments, found = made(text, 60)
        Counted.seen = 0
        for segment in segments:
            found.before(segment)
        assert len(segments) == count
        seen.append(Counted.seen / count)
    assert seen[1] == pytest.approx(seen[0], rel=0.2)


# --- sections ---------------------------------------------------------------------------------


def texts_of(text):
    segments, found = made(text)
    sections = found.sections()
    assert [number for section in sections for number in section] == [each.number for each in segments]
    return [[segments[number].text for number in section] for section in sections]


def test_a_section_begins_at_a_heading_of_either_kind():
    for heading in ("## Part", "Part\n----", "Part\n===="):
        text = f"{sentences(0, 20)}\n\n{heading}\n\n{sentences(50, 20)}"
        first, second = texts_of(text)
        assert len(first) == 20
        assert second[0].startswith(heading)


def test_a_short_section_goes_on_into_the_next():
    text = f"# Marra\n\n## Part\n\n{sentences(0, 20)}\n\n## End\n\n{sentences(50, 3)}"
    first, second = texts_of(text)
    assert first[0].startswith("# Marra")
    assert second[0].startswith("## End")


def test_a_long_section_is_cut_at_a_paragraph_else_at_a_segment():
    paragraphs = [sentences(100 * n, 50) for n in range(8)]
    found = texts_of("\n\n".join(paragraphs))
    assert [len(section) for section in found] == [150, 150, 100]
    found = texts_of(sentences(0, 400))
    assert [len(section) for section in found] == [166, 166, 68]


def test_a_document_without_segments_has_no_sections():
    assert Contexts("", [], GeneratorRecipe()).sections() == []

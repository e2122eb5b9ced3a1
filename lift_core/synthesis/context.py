"""What a model sees before a segment, and which segments make a section."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from lift_core.records import GeneratorRecipe, Segment

_WORD = re.compile(r"\S+")
_PARAGRAPH_END = re.compile(r"\n\n+")
HEADING = re.compile(
    r"^(?:#{1,6}[ \t]+\S.*"  # Markdown, ATX
    r"|\S.*\n(?P<rule>[=~^\"-])(?P=rule){2,}[ \t]*)$",  # underlined: Markdown setext, reStructuredText
    re.MULTILINE,
)
"""A line that begins a section."""
_LEAST_SECTION_WORDS = 100
"""A shorter section goes on into the next one: a heading alone has no distant parts."""
_MOST_SECTION_WORDS = 1500
"""About 2,000 tokens. A longer section is cut at a paragraph: it is sent to the model as a whole."""


class Contexts:
    """The text before each segment of a document, up to ``context_words`` words of it.

    ``sliding``: what precedes the segment in its paragraph. Every segment's context begins somewhere else, so
    that two prompts have no beginning in common.

    ``anchored``: the context begins at the section and grows with every segment. When it would exceed
    ``context_words``, it begins anew at the last paragraph, or else segment, from which it still holds half
    of them. In between, a prompt begins with all of the context that the one before had, and a server's
    prefix cache holds everything but the last segment (docs.vllm.ai, Automatic Prefix Caching).

    Made in one pass; it keeps a few integers a word of the document, and each context is a slice of the text.
    """

    def __init__(self, text: str, segments: Sequence[Segment], recipe: GeneratorRecipe) -> None:
        self._text = text
        self._segments = segments
        self._words = [match.start() for match in _WORD.finditer(text)]
        self._paragraphs = [0, *(match.end() for match in _PARAGRAPH_END.finditer(text))]
        self._headings = self._long_sections()
        layout = self._anchored if recipe.context_layout == "anchored" else self._sliding
        numbers = (segment.number for segment in segments)
        self._begins = dict(zip(numbers, layout(recipe.context_words), strict=True))

    def before(self, segment: Segment) -> str:
        """The context of one of the document's segments, as it stands in the text; it may be empty."""
        return self._text[self._begins[segment.number] : segment.start].rstrip()

    def sections(self) -> list[range]:
        """The numbers of each section's segments, in order; together they are all segments.

        A section begins at a heading (Markdown's or reStructuredText's). One of under 100 words goes on into
        the next, one of over 1,500 is cut: at a paragraph where one begins in it, else at a segment.
        """
        starts: list[int] = []
        paragraph = 0
        previous = -1
        for index, segment in enumerate(self._segments):
            if self._last(self._paragraphs, segment.start) > previous:
                paragraph = index
            if not starts or self._last(self._headings, segment.start) > previous:
                starts.append(index)
            elif self._count(self._segments[starts[-1]].start, segment.end) > _MOST_SECTION_WORDS:
                starts.append(paragraph if paragraph > starts[-1] else index)
            previous = segment.start
        numbers = [segment.number for segment in self._segments]
        ends = [*starts, len(numbers)][1:]
        return [range(numbers[a], numbers[b - 1] + 1) for a, b in zip(starts, ends, strict=True)]

    def _long_sections(self) -> list[int]:
        """Where sections of enough words begin."""
        starts = [0]
        for match in HEADING.finditer(self._text):
            if self._count(starts[-1], match.start()) >= _LEAST_SECTION_WORDS:
                starts.append(match.start())
        return starts

    def _sliding(self, most: int) -> list[int]:
        return [
            max(self._last(self._paragraphs, segment.start), self._back(segment.start, most))
            for segment in self._segments
        ]

    def _anchored(self, most: int) -> list[int]:
        begins: list[int] = []
        own = [segment.start for segment in self._segments]
        begin = 0
        for segment in self._segments:
            begin = max(begin, self._last(self._headings, segment.start))
            if self._count(begin, segment.start) > most:
                begin = self._anew(own, begin, segment.start, most)
            begins.append(begin)
        return begins

    def _anew(self, own: list[int], begin: int, end: int, most: int) -> int:
        """Where the context before ``end`` begins once it has grown too long: after ``begin``."""
        # From here on it holds less than half of the words.
        half = self._back(end, (most + 1) // 2)
        for starts in (self._paragraphs, own):
            at = self._last(starts, half)
            if at > begin and self._count(at, end) <= most:
                return at
        return self._back(end, most)

    def _count(self, begin: int, end: int) -> int:
        """How many words begin in that part of the text."""
        return bisect_left(self._words, end) - bisect_left(self._words, begin)

    def _back(self, end: int, words: int) -> int:
        """Where the last so many words before ``end`` begin."""
        last = bisect_left(self._words, end)
        return self._words[max(0, last - words)] if words and last else end

    @staticmethod
    def _last(starts: list[int], at: int) -> int:
        """The last of ``starts`` that is not after ``at``."""
        return starts[max(0, bisect_right(starts, at) - 1)]

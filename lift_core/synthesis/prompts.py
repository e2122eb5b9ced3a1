"""Prompt profile ``lines``: what the taught small model knows, and how its answer is read."""

from __future__ import annotations

import re

_PAIR = re.compile(r"Q:[ \t]*(.+?)[ \t]*\nA:[ \t]*(.+)")


def lines_prompt(title: str, context: str, segment: str) -> str:
    """The prompt for one segment; the fixed part comes first, so that servers can cache it."""
    return (
        f"Title: {title}\nContext: {context}\nSentence: {segment}\n"
        "Questions and answers about the sentence:\n"
    )


def context_before(text: str, start: int, words: int) -> str:
    """Up to ``words`` words of the same paragraph before a character offset."""
    begin = text.rfind("\n\n", 0, start) + 1
    before = text[begin:start].split()
    return " ".join(before[-words:]) if words else ""


def read_lines(completion: str) -> list[tuple[str, str]]:
    """The (question, answer) pairs of a completion; anything else in it is ignored."""
    return [(question.strip(), answer.strip()) for question, answer in _PAIR.findall(completion)]

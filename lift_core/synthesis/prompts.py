"""What models are sent, made from a profile's templates, and how their completions are read."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lift_core.records.base import Record
from lift_core.synthesis.english import STOP_WORDS
from lift_core.synthesis.profiles import Profile
from lift_core.synthesis.words import plain

NOT_STATED = "not stated"
"""The answer of a reader that does not find one."""
_PLACE = re.compile(r"\{([a-z_]+)\}")
_LINES_PAIR = re.compile(r"Q:[ \t]*(.+?)[ \t]*\nA:[ \t]*(.+)")
_MARKS = re.compile(r"^[#*>\s]+|[\s*.,;:]+$")
"""What Markdown and the end of a sentence leave at an answer."""
_SHOWN = 80
"""Characters of an unreadable completion that are shown."""


class Prompt(Record):
    """One request's content: a ``text`` to complete, or the ``messages`` of a chat.

    The completion ends before one of ``stop``; ``json_schema`` is the JSON schema that it must satisfy.
    """

    text: str = ""
    messages: tuple[dict[str, str], ...] = ()
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None


# --- writing ----------------------------------------------------------------------------------


def writing_prompt(
    profile: Profile, *, title: str, context: str, segment: str, pairs: int, touch: Sequence[str] = ()
) -> Prompt:
    """Ask for ``pairs`` pairs about a segment; ``touch`` are names and numbers that should occur in them.

    A profile without a place for ``pairs`` or ``touch`` (``lines``) asks as it always does.
    """
    names = _filled(profile.touch, {"names": "; ".join(touch)}) if touch else ""
    return _prompt(profile, title=title, context=context, segment=segment, pairs=pairs, touch=names)


def choosing_prompt(profile: Profile, *, title: str, context: str, segment: str) -> Prompt:
    """Ask which answers of a segment are worth asking for."""
    values = _values(profile, title=title, context=context, segment=segment)
    return Prompt(text=_filled(profile.choosing, values))


def asking_prompt(profile: Profile, *, title: str, context: str, segment: str, answer: str) -> Prompt:
    """Ask for the question that the segment answers so."""
    return _prompt(profile, title=title, context=context, segment=segment, answer=answer)


def global_prompt(profile: Profile, *, title: str, section: str, pairs: int) -> Prompt:
    """Ask for ``pairs`` pairs that need distant parts of a section together."""
    return _prompt(profile, title=title, section=section, pairs=pairs)


def reading_prompt(profile: Profile, *, title: str, context: str, segment: str, question: str) -> Prompt:
    """Ask for the answer to a question, read from the segment."""
    return _prompt(profile, title=title, context=context, segment=segment, question=question)


def judging_prompt(profile: Profile, *, title: str, source: str, question: str, answer: str) -> Prompt:
    """Ask whether the source supports a pair."""
    return _prompt(profile, title=title, source=source, question=question, answer=answer)


def _prompt(profile: Profile, **given: str | int) -> Prompt:
    values = _values(profile, **given)
    return Prompt(
        text=_filled(profile.text, values),
        messages=tuple(
            {"role": message.role, "content": _filled(message.content, values)}
            for message in profile.messages
        ),
        stop=profile.stop,
        json_schema=_filled_schema(profile.json_schema, values),
    )


def _values(profile: Profile, **values: str | int) -> dict[str, str | int]:
    if profile.one_line:
        values |= {name: " ".join(str(values[name]).split()) for name in ("context", "segment")}
    values["context"] = values.get("context") or profile.no_context
    return values


def _filled(template: str, values: Mapping[str, str | int]) -> str:
    # In one pass: a value may hold braces, as titles and source code do.
    return _PLACE.sub(lambda place: str(values[place[1]]), template)


def _filled_schema(schema: Any, values: Mapping[str, str | int]) -> Any:
    if isinstance(schema, dict):
        return {key: _filled_schema(value, values) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_filled_schema(value, values) for value in schema]
    place = _PLACE.fullmatch(schema) if isinstance(schema, str) else None
    return values[place[1]] if place else schema


# --- reading ----------------------------------------------------------------------------------


def read_pairs(profile: Profile, completion: str) -> list[tuple[str, str]]:
    """The (question, answer) pairs of a completion, in its order; anything else in it is ignored.

    Whole pairs are read from a completion that was cut off, too.
    """
    if profile.reads == "lines":
        return read_lines(completion)
    return [pair for value in _objects(completion) for pair in _pairs_in(value)]


def read_lines(completion: str) -> list[tuple[str, str]]:
    """The pairs of ``Q:`` and ``A:`` lines."""
    return [(question.strip(), answer.strip()) for question, answer in _LINES_PAIR.findall(completion)]


def read_answers(completions: Iterable[str], segment: str) -> list[str]:
    """The answers that completions name, a line each, those that most of them name first.

    Left out is what does not stand so in the segment, but for its case, what is grammar alone, and what is
    part of an answer that is named more often or has such a one in it: both would be asked for alike.
    """
    source = " ".join(segment.split())
    named: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for completion in completions:
        for line in dict.fromkeys(_MARKS.sub("", " ".join(each.split())) for each in completion.splitlines()):
            stands = re.search(rf"(?<!\w){re.escape(line)}(?!\w)", source, re.IGNORECASE)
            answer = plain(line)
            if stands and not STOP_WORDS.issuperset(answer.split()):
                named[answer] += 1
                spelled.setdefault(answer, line)
    found: list[str] = []
    for answer, _ in named.most_common():
        if not any(f" {answer} " in f" {other} " or f" {other} " in f" {answer} " for other in found):
            found.append(answer)
    return [spelled[answer] for answer in found]


def read_question(completion: str) -> str:
    """The question of a completion, its first line."""
    return next(iter(completion.strip().splitlines()), "").strip()


def read_answer(completion: str) -> str | None:
    """A reader's answer, the first line of its completion; None: the segment does not say."""
    answer = next(iter(completion.strip().splitlines()), "").strip()
    return None if answer.rstrip(".").casefold() in ("", NOT_STATED) else answer


def read_judgement(completion: str) -> tuple[bool, str]:
    """Whether a judge finds the pair supported, and why. What cannot be read supports nothing."""
    for value in _objects(completion):
        if isinstance(supported := value.get("supported"), bool):
            return supported, " ".join(str(value.get("why", "")).split())
    return False, f"the judge's answer cannot be read: {completion.strip()[:_SHOWN]!r}"


def _objects(completion: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a completion, outermost first; of one that was cut off, the whole ones in it."""
    decoder = json.JSONDecoder()
    at = completion.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(completion, at)
            yield value
        except ValueError:
            # Cut off, or no JSON: there may be an object further inside.
            end = at + 1
        except RecursionError:
            return
        at = completion.find("{", end)


def _pairs_in(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        question, answer = _words(value.get("question")), _words(value.get("answer"))
        if question and answer:
            yield question, answer
            return
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _pairs_in(inner)


def _words(value: Any) -> str:
    """A string or a number as one line; anything else is nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return " ".join(str(value).split())


def context_before(text: str, start: int, words: int) -> str:
    """Up to ``words`` words of the same paragraph before a character offset."""
    begin = text.rfind("\n\n", 0, start) + 1
    before = text[begin:start].split()
    return " ".join(before[-words:]) if words else ""

"""What a pair shows by itself: form, length, copies, self-containedness, the kind of its answer."""

from __future__ import annotations

import re
from itertools import pairwise

from lift_core.synthesis.english import MONTHS, QUANTITY_WORDS, STOP_WORDS, TIME_WORDS, word_set
from lift_core.synthesis.gate.grounding import Source, subject_words
from lift_core.synthesis.gate.reasons import Reason
from lift_core.synthesis.names import is_acronym, scan
from lift_core.synthesis.numbers import numbers_stated
from lift_core.synthesis.words import plain, words

Finding = tuple[Reason, str]
"""A reason with what was found."""

_QUESTION_CHARS = 300
_ANSWER_CHARS = 200
_QUESTION_WORDS = 3
_COPIED_WORDS = 5
_LOOPING_WORDS = 6
_QUESTION_MARKS = ("?", "？", "؟", ";", "՞")
_BLANK = "___"
_VAGUE_SUBJECT_WORDS = 2
_SHORT_TIME_WORDS = 3

_LABEL = re.compile(
    r"^(?:Q|A|Question|Answer|Title|Context|Sentence|Passage|Text)\s*\d*[:.)]|\b[QA]:|"
    r"Questions and answers about|<\|?[a-z_]+\|?>|\[(?:question|answer|name|subject)\]|\{\w*\}",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"^(?:(?:it )?(?:is |was )?not (?:stated|mentioned|specified|given|provided|known|available)|unknown|n/?a"
    r"|none given|no (?:answer|information)|i (?:do not|don't|cannot|can't)|as an ai"
    r"|the (?:text|passage|sentence|context|document) (?:does|doesn|did)\b)",
    re.IGNORECASE,
)
_CUT = word_set("a an and at because by for from if in into of on or than that the their to was with")

_TEXT = (
    r"(?:text|passage|sentence|paragraph|context|document|article|excerpt|extract|section|chapter|author|"
    r"writer|speaker|report|paper|study|table|figure|list|statement|information|abstract|page|snippet)"
)
_BOUND = re.compile(
    rf"\baccording to (?:the|this|that|these|what)\b(?=(?: \w+)? {_TEXT}s?\b)"
    rf"|\b(?:in|from|of|by|does|did|is|to) (?:the|this) (?:given |above |following |provided )?"
    r"(?:text|passage|sentence|paragraph|context|document|article|excerpt|extract|statement|snippet)\b"
    r"|\b(?:the|this) (?:author|writer|passage|excerpt|paragraph)\b"
    r"|\b(?:mentioned|described|stated|given|listed|discussed|quoted|shown) (?:above|below|here|earlier)\b"
    r"|\b(?:above|previously|earlier|afore)-?\s?mentioned\b|\bas follows\b"
    r"|\bthe (?:above|following|former|latter)\b"
    r"|\bas (?:mentioned|described|stated|discussed)\b",
    re.IGNORECASE,
)
_SPEAKER = re.compile(r"\b(?:[Mm]y|[Mm]e|[Mm]ine|[Oo]ur|[Oo]urs|us)\b|\b(?<![A-Z]\w )I\b(?![.])")
_POINTING = re.compile(r"\b(?:this|these)\b(?! (?:day|that)\b)", re.IGNORECASE)
_WH = word_set("who whom whose what which when where why how")
_PERSONAL = word_set("he she it they him her them")
_POSSESSIVE = word_set("his its their hers theirs")
_AUXILIARY = word_set(
    "am are be been can could did do does had has have is may might must shall should was were will would"
)
_DETERMINER = word_set("a all an another any both each every no some the two three four")
_EXPLETIVE = re.compile(
    r"\bit (?:\w+ )?(?:that|to|take|takes|took|taken|cost|costs|who|when|possible|impossible|important|"
    r"necessary|like|true|likely|easy|hard|difficult|rain|snow|mean|means)\b",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"\bthe (company|agency|organi[sz]ation|study|experiment|research|article|paper|book|film|movie|event"
    r"|group|team|project|report|survey|incident|process|person|individual|character|city|country|building"
    r"|topic|subject)\b"
    r"(?! (?:of|in|that|who|which|whose|with|from|by|for|at|on|where|called|named|to)\b)",
    re.IGNORECASE,
)

_YEAR_ASKED = re.compile(r"\b(?:what|which)(?: \w+)? (?:year|date|percentage|percent)\b", re.IGNORECASE)
_COUNT_ASKED = re.compile(r"\bhow (?:many|old)\b|\bwhat number of\b", re.IGNORECASE)
_WHO_ASKED = re.compile(r"^(?:by |to |for |with |from |of )?(?:who|whom|whose|where|why)\b", re.IGNORECASE)
_YES_NO = frozenset({"yes", "no", "true", "false"})


def form(question: str, answer: str) -> Finding | None:
    """Whether both are there, end, and do not loop; their length in characters and words."""
    asked, told = words(question), words(answer)
    if not question.rstrip(" \"'”’)»").endswith(_QUESTION_MARKS):
        return "form", "the question does not end with a question mark"
    if not told:
        return "form", "there is no answer"
    if "�" in question + answer:
        return "form", "a character could not be decoded"
    for text in (asked, told):
        if len(text) >= _LOOPING_WORDS and len(set(text)) <= len(text) / 2:
            return "form", "the same words again and again"
    last = plain(answer.split()[-1])
    if len(told) > 1 and last in _CUT and not is_acronym(answer.split()[-1].strip(".")):
        return "form", f"the answer ends with '{last}': it is cut"
    if len(asked) < _QUESTION_WORDS:
        return "length", f"the question has {len(asked)} words"
    if len(question) > _QUESTION_CHARS:
        return "length", f"the question has {len(question)} characters"
    if len(answer) > _ANSWER_CHARS:
        return "length", f"the answer has {len(answer)} characters"
    return None


def copied(question: str, answer: str, source: Source) -> Finding | None:
    """A part of the prompt in question or answer, or a statement of the source with a question mark."""
    for text in (question, answer):
        label = _LABEL.search(text)
        if label and plain(label.group()) and label.group().casefold() not in source.text.casefold():
            return "copied", f"'{label.group()}' is a part of the prompt"
    asked = plain(question)
    at = source.plain.find(f" {asked} ") if len(asked.split()) >= _COPIED_WORDS else -1
    if at >= 0 and question.rstrip() not in " ".join(source.text.split()):
        return "copied", "the question is a statement of the source"
    return None


def unanswered(answer: str) -> Finding | None:
    """An answer that says there is none."""
    if found := _NO_ANSWER.match(answer.strip()):
        return "unanswered", f"the answer says '{found.group()}'"
    return None


def context_bound(question: str, answer: str) -> Finding | None:
    """What in a pair points outside it: the text, a speaker, a pronoun without anything it could stand for.

    A question with a blank to fill in brings its sentence along and is let through.
    """
    if _BLANK in question:
        return None
    if found := _BOUND.search(question) or _SPEAKER.search(question):
        return "context-bound", f"'{found.group().strip()}'"
    told = words(answer)
    if len(told) == 1 and told[0] in _PERSONAL | _POSSESSIVE | {"this", "that", "these", "those"}:
        return "context-bound", f"the answer is '{told[0]}'"
    named = any(not name.opens_sentence or len(name.words) > 1 for name in scan(question))
    if not named and (found := _POINTING.search(question)):
        return "context-bound", f"'{found.group()}'"
    if (pronoun := _bare_pronoun(question)) is not None:
        return "context-bound", f"'{pronoun}' stands for nothing in the question"
    found = _VAGUE.search(question)
    if found and not named and len(subject_words(question)) <= _VAGUE_SUBJECT_WORDS:
        return "context-bound", f"'{found.group()}' could be any"
    return None


def echo(question: str, answer: str) -> Finding | None:
    """An answer all of whose words are in the question, but for a yes, a no, or a choice between two."""
    told, asked = words(answer), words(question)
    if "or" in asked or not set(told) <= set(asked):
        return None
    return "echo", "all words of the answer are in the question"


def mistyped(question: str, answer: str) -> Finding | None:
    """An answer of another kind than asked for, where the question's words say the kind."""
    asked, told = words(question), words(answer)
    numbers = numbers_stated(answer)
    yes_no = told[0] in _YES_NO
    if asked[0] in _AUXILIARY:
        return None if yes_no or "or" in asked else ("mistyped", "the question asks for a yes or no")
    if told[0] in {"yes", "true", "false"} and asked[0] in _WH:
        return "mistyped", f"the question does not ask for a {told[0]}"
    if _COUNT_ASKED.search(question) and not numbers and not QUANTITY_WORDS & set(told):
        return "mistyped", "the question asks for a number"
    if _YEAR_ASKED.search(question) and not numbers:
        return "mistyped", "the question asks for a year, a date or a share"
    if asked[0] == "when" and not numbers and len(told) <= _SHORT_TIME_WORDS and not TIME_WORDS & set(told):
        return "mistyped", "the question asks for a time"
    if _WHO_ASKED.match(question) and all(word[0].isdigit() or word in MONTHS | STOP_WORDS for word in told):
        return "mistyped", "the question does not ask for a number or date"
    return None


def _bare_pronoun(question: str) -> str | None:
    """The first pronoun before which the question has nothing that it could stand for.

    That is a name, a word with an article or a number before it, the subject after an auxiliary, or after
    ``which``/``what``/``who`` where the pronoun is not itself the subject.
    """
    if _EXPLETIVE.search(question):
        return None
    listed: list[str] = re.findall(r"[\w'’-]+", question)
    folded = [word.casefold() for word in listed]
    for position, word in enumerate(folded):
        if word not in _PERSONAL and word not in _POSSESSIVE:
            continue
        before = folded[:position]
        if any(mark[0].isupper() for mark in listed[1:position]) or _DETERMINER & set(before):
            return None
        owned = {after for helper, after in pairwise(before) if helper in _AUXILIARY}
        if any(after not in STOP_WORDS for after in owned):
            return None
        owner = word in _POSSESSIVE or (word == "her" and position + 1 < len(folded))
        if owner and before and before[-1] not in _AUXILIARY and (_WH & set(before)):
            return None
        return word
    return None

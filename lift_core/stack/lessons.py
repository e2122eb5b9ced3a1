"""What the embedded model is taught: to choose what in a sentence is worth asking for, to ask for it, and to
answer from a sentence or to say that it does not tell.

All begin with the same words, the title, the context and the sentence, so that one pass over those serves
all lessons about a sentence, here and in the server's prefix cache.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lift_core.documents import split
from lift_core.records import GateRecipe, GeneratorRecipe, Recipe, SegmentationRecipe
from lift_core.synthesis.gate import Gate
from lift_core.synthesis.profiles import load_profile
from lift_core.synthesis.prompts import (
    NOT_STATED,
    asking_prompt,
    choosing_prompt,
    context_before,
    reading_prompt,
)

SETS = ("squad_dev.jsonl", "new_wiki_v1.0.json", "fairytaleqa.jsonl", "covidqa.jsonl")
"""CC BY-SA 4.0, CC BY 4.0 (SQuADShifts), Apache-2.0, Apache-2.0 (its articles CC BY)."""
MEASURED_SET = "squad_dev.jsonl"
MEASURED_ARTICLES = 10
"""So many of its articles are never taught: adapters of their pairs are what the generator is measured by."""
KEPT_BACK_SHARE = 0.1
"""Of the other sets' documents: for looking for thresholds, and for measuring the gate."""
SHIPPED_EXAMPLES = frozenset({"fairytale:king-kojata", "covidqa:1689"})
"""Documents that people look at first, and judge the generator by: not taught either."""
MAX_ANSWER_WORDS = 8
"""Longer answers are clauses and sentences; the adapters are to learn facts."""

UNANSWERABLE_SHARE = 0.4
"""So many questions of either kind that cannot be answered, for each that can."""
NEAREST = 10
"""From so many questions of the document, those that share most words with a sentence, are those chosen that
it does not answer: what has nothing to do with it teaches little."""
AGREEING = 2
"""So many people must have given an answer, where several were asked, for its question to be taught."""

WRITING, READING = load_profile("answers", 1), load_profile("reading", 1)
Example = tuple[str, str]
"""A prompt and its completion."""

_NAME = re.compile(r"(?<=[a-z,;:] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")
"""A capitalised run inside a sentence."""
_NUMBER = re.compile(r"\b\d+(?:[.,]\d+)*\b")


@dataclass(frozen=True)
class Lesson:
    """A sentence, what people asked about it, and what it does not answer."""

    title: str
    context: str
    sentence: str
    pairs: tuple[tuple[str, str], ...]
    worth_writing: tuple[tuple[str, str], ...]
    """Those of the pairs that pass the gate's cheap checks: others should not be written."""
    unanswerable: tuple[str, ...] = ()
    """Questions that neither the sentence nor its context answers."""

    @property
    def _seen(self) -> dict[str, str]:
        return {"title": self.title, "context": self.context, "segment": self.sentence}

    def choosing(self, order: random.Random) -> list[Example]:
        """Choosing all answers at once, in a random order, as none of them comes first."""
        answers = list(dict.fromkeys(answer for _, answer in self.worth_writing))
        order.shuffle(answers)
        prompt = choosing_prompt(WRITING, **self._seen).text
        return [(prompt, "".join(f"{answer}\n" for answer in answers))] if answers else []

    def asking(self) -> list[Example]:
        """Asking for each answer."""
        return [
            (asking_prompt(WRITING, **self._seen, answer=answer).text, f" {question}\n")
            for question, answer in self.worth_writing
        ]

    def reading(self) -> list[Example]:
        """Answering each question, or saying that it cannot be answered."""
        asked = [*self.pairs, *((question, NOT_STATED) for question in self.unanswerable)]
        return [
            (reading_prompt(READING, **self._seen, question=question).text, f" {answer}\n")
            for question, answer in asked
        ]


def measured_articles(doc_ids: Sequence[str]) -> set[str]:
    """The articles that are kept for measuring adapters: the first by the hash of their id."""
    ranked = sorted(doc_ids, key=_digest)
    return set(ranked[:MEASURED_ARTICLES])


def kept_back(name: str, doc_ids: Sequence[str]) -> set[str]:
    """The documents of a set that are never taught."""
    if name == MEASURED_SET:
        return measured_articles(doc_ids)
    share = {doc_id for doc_id in doc_ids if int(_digest(doc_id)[:8], 16) < KEPT_BACK_SHARE * 2**32}
    return share | (SHIPPED_EXAMPLES & set(doc_ids))


def read_set(path: Path) -> list[dict[str, Any]]:
    """The documents of one set: JSON Lines, or a file in the format of SQuAD (``.json``).

    A question of the latter counts where ``AGREEING`` of the people who were asked gave the same answer.
    """
    if path.suffix == ".json":
        return [_squad_document(article) for article in json.loads(path.read_text("utf-8"))["data"]]
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _squad_document(article: dict[str, Any]) -> dict[str, Any]:
    text = ""
    spans: list[tuple[int, int]] = []
    questions = []
    for number, paragraph in enumerate(article["paragraphs"]):
        spans.append((len(text), len(text) + len(paragraph["context"].strip())))
        text += paragraph["context"].strip() + "\n\n"
        for asked in paragraph["qas"]:
            given = Counter(answer["text"].strip(" .,;") for answer in asked["answers"])
            answer, people = given.most_common(1)[0]
            if people >= AGREEING:
                question = asked["question"].strip()
                question = question[:1].upper() + question[1:]
                questions.append({"question": question, "answers": [answer], "paragraph": number})
    title = unquote(article["title"])
    return {"doc_id": title, "title": title, "text": text, "paragraph_spans": spans, "qas": questions}


def read_lessons(data: Path) -> tuple[list[Lesson], list[Lesson]]:
    """The lessons of all sets: those that are taught, and those of the articles kept for measuring."""
    taught: list[Lesson] = []
    measured: list[Lesson] = []
    for name in SETS:
        documents = read_set(data / name)
        away = kept_back(name, [document["doc_id"] for document in documents])
        for document in documents:
            if document["doc_id"] not in away:
                taught.extend(lessons_of(document))
            elif name == MEASURED_SET:
                measured.extend(lessons_of(document))
    return taught, measured


def lessons_of(document: dict[str, Any]) -> Iterator[Lesson]:
    """One lesson for every sentence that holds short verbatim answers."""
    text: str = document.get("text") or document["context"]
    title = document["title"].replace("_", " ")
    segments = split(text, SegmentationRecipe())
    found = _pairs_by_segment(document, text, segments)
    everywhere = [pair for pairs in found.values() for pair in pairs]
    names = sorted({name for segment in segments for name in _NAME.findall(segment.text)})
    gate = Gate(Recipe(gate=GateRecipe()), title)
    for number, pairs in found.items():
        segment = segments[number]
        context = context_before(text, segment.start, GeneratorRecipe().context_words)
        sentence = " ".join(segment.text.split())
        chance = random.Random(f"{document['doc_id']} {number}")  # noqa: S311 - a choice, not a secret
        seen = f"{context} {sentence}".lower()
        judged = gate.check(number, f"{context} {sentence}", pairs)
        yield Lesson(
            title,
            context,
            sentence,
            tuple(pairs),
            tuple((each.pair.question, each.pair.answer) for each in judged if each.kept),
            (
                *_asked_elsewhere(everywhere, seen, len(pairs), chance),
                *_changed(pairs, names, f"{seen} {title.lower()}", chance),
            ),
        )


def _pairs_by_segment(
    document: dict[str, Any], text: str, segments: Sequence[Any]
) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for asked in document["qas"]:
        answer = min(asked.get("answers") or [""], key=len).strip()
        question = " ".join(asked["question"].split())
        if not answer or len(answer.split()) > MAX_ANSWER_WORDS or not question.endswith("?"):
            continue
        begin, end = 0, len(text)
        if "paragraph_spans" in document:
            begin, end = document["paragraph_spans"][asked["paragraph"]]
        holding = [s for s in segments if s.start >= begin and s.end <= end and answer in s.text]
        if holding:
            words = set(re.findall(r"\w+", question.lower()))
            best = max(holding, key=lambda s: len(words & set(re.findall(r"\w+", s.text.lower()))))
            found.setdefault(best.number, []).append((question, answer))
    return found


def _asked_elsewhere(
    everywhere: Sequence[tuple[str, str]], seen: str, pairs: int, chance: random.Random
) -> list[str]:
    """Questions about other sentences of the document, whose answers are not to be seen here."""
    others = [question for question, answer in everywhere if answer.lower() not in seen]
    here = set(re.findall(r"\w+", seen))
    others.sort(key=lambda question: -len(here & set(re.findall(r"\w+", question.lower()))))
    wanted = sum(chance.random() < UNANSWERABLE_SHARE for _ in range(pairs))
    return chance.sample(others[:NEAREST], min(len(others), NEAREST, wanted))


def _changed(
    pairs: Sequence[tuple[str, str]], names: Sequence[str], seen: str, chance: random.Random
) -> list[str]:
    """Questions about this sentence with a name or a number that is not in it: their premise is false."""
    found = []
    for question, _ in pairs:
        if chance.random() >= UNANSWERABLE_SHARE:
            continue
        strangers = [name for name in names if name.lower() not in seen and name not in question]
        if (number := _NUMBER.search(question)) and number.group().lower() in seen:
            other = str(int(re.sub(r"\D", "", number.group())) + chance.randint(1, 40))
            if other not in seen:
                found.append(question.replace(number.group(), other, 1))
        elif (name := _NAME.search(question)) and name.group().lower() in seen and strangers:
            found.append(question.replace(name.group(), chance.choice(strangers), 1))
    return found


def _digest(doc_id: str) -> str:
    return hashlib.sha256(doc_id.encode()).hexdigest()

"""Round trip and judge, with a reader and a judge that the tests play."""

import asyncio

import pytest

from lift_core.errors import ServiceUnavailableError
from lift_core.records import JudgedPair, QAPair
from lift_core.synthesis.gate import judge, read_back


def judged(*answers):
    pairs = [QAPair(segment=0, question=f"Question {n}?", answer=a) for n, a in enumerate(answers)]
    return [JudgedPair(pair=pair, kept=True) for pair in pairs]


def reader(*answers):
    async def ask(question):
        return answers[int(question.split()[1][:-1])]

    return ask


def test_the_reader_must_come_to_the_same_answer():
    found = judged("Odo Krell", "1712", "seal oil")
    back = asyncio.run(read_back(reader("Krell", "1713", None), found, agreement=0.5))
    assert [each.reason for each in back] == [None, "disagreement", "unanswered"]
    assert [each.agreement for each in back] == [pytest.approx(0.667), None, None]
    assert "1713" in back[1].detail
    assert [each.pair for each in back] == [each.pair for each in found]


def test_rejected_pairs_are_not_asked_about():
    rejected = JudgedPair(pair=QAPair(segment=0, question="?", answer="x"), kept=False, reason="form")

    async def ask(_):
        raise AssertionError

    assert asyncio.run(read_back(ask, [rejected], agreement=0.5)) == [rejected]
    assert asyncio.run(judge(ask, [rejected])) == [rejected]


def test_the_judge_decides_and_says_why():
    async def ask(pair):
        return pair.answer == "Odo Krell", "nobody says so"

    kept, refused = asyncio.run(judge(ask, judged("Odo Krell", "whale oil")))
    assert kept.kept
    assert (refused.reason, refused.detail) == ("unsupported", "nobody says so")


def test_all_are_asked_at_once_and_an_error_ends_the_others():
    started, cancelled = [], []

    async def ask(question):
        started.append(question)
        if len(started) == 3:
            raise ServiceUnavailableError("away")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(question)
            raise

    with pytest.raises(ServiceUnavailableError):
        asyncio.run(read_back(ask, judged("a", "b", "c"), agreement=0.5))
    assert (len(started), len(cancelled)) == (3, 2)

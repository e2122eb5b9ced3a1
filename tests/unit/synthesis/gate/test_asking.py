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
    """One that says these, to a question each; a tuple holds what it says when asked several times."""

    async def ask(question):
        said = answers[int(question.split()[1][:-1])]
        return said if isinstance(said, tuple) else (said,)

    return ask


def read(ask, found, agreeing_share=0.5):
    return asyncio.run(read_back(ask, found, agreement=0.5, agreeing_share=agreeing_share))


def test_the_reader_must_come_to_the_same_answer():
    found = judged("Odo Krell", "1712", "seal oil")
    back = read(reader("Krell", "1713", None), found)
    assert [each.reason for each in back] == [None, "disagreement", "unanswered"]
    assert [each.agreement for each in back] == [pytest.approx(0.667), None, None]
    assert "1713" in back[1].detail
    assert [each.pair for each in back] == [each.pair for each in found]


def test_a_share_of_the_readers_answers_must_agree():
    ask = reader(
        ("Odo Krell", "Krell", None, "Sarn"),
        ("1713", "1712", "1713", None),
        (None, None, "seal oil", None),
        ("in Marra", None, "in Sarn", None),
    )
    found = judged("Odo Krell", "1712", "seal oil", "a tower")
    half = read(ask, found)
    assert [each.reason for each in half] == [None, "disagreement", "unanswered", "unanswered"]
    assert half[0].agreement == pytest.approx((1 + 2 / 3) / 2, abs=1e-3)
    quarter = read(ask, found, 0.25)
    assert [each.reason for each in quarter] == [None, None, None, "unanswered"]


def test_rejected_pairs_are_not_asked_about():
    rejected = JudgedPair(pair=QAPair(segment=0, question="?", answer="x"), kept=False, reason="form")

    async def ask(_):
        raise AssertionError

    assert read(ask, [rejected]) == [rejected]
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
        read(ask, judged("a", "b", "c"))
    assert (len(started), len(cancelled)) == (3, 2)

"""What the benchmark ``squad`` asks about, and its figures over documents."""

import asyncio

import pytest
from pydantic import SecretStr

from lift_core.benchmarks.squad import (
    BASE,
    LEARNED,
    UNTAUGHT,
    checks_alone,
    excerpt_of,
    fitting_epochs,
    interval,
    rows_of,
    written_elsewhere,
)
from lift_core.recipes import load_recipe
from lift_core.settings import Settings
from lift_core.synthesis.gate import Gate, read_back

PARAGRAPHS = ["One two three four.", "Five six seven.", "Eight nine."]
CONTEXT = "\n\n".join(PARAGRAPHS)


def article():
    spans, begin = [], 0
    for paragraph in PARAGRAPHS:
        spans.append([begin, begin + len(paragraph)])
        begin += len(paragraph) + 2
    asked = [
        {"question": f"What is in {number}?", "answers": [f"word {number}"], "paragraph": number}
        for number in range(3)
    ]
    return {"title": "Some_Words", "context": CONTEXT, "paragraph_spans": spans, "qas": asked}


def test_an_excerpt_has_whole_paragraphs_and_only_their_questions():
    excerpt = excerpt_of(article(), 5)
    assert excerpt.text == "# Some Words\n\nOne two three four.\n\nFive six seven."
    assert excerpt.questions == (("What is in 0?", ("word 0",)), ("What is in 1?", ("word 1",)))


def test_an_article_shorter_than_asked_for_is_taken_whole():
    assert excerpt_of(article(), 1000).text.endswith("Eight nine.")


def test_means_and_differences_are_those_of_the_documents():
    found = [
        {"name": "a", LEARNED: 0.5, BASE: 0.1, "kept": 0.8, "covered": 1.0},
        {"name": "b", LEARNED: 0.3, BASE: 0.1, "kept": 0.6, "covered": 0.9},
    ]
    rows = {row["name"]: row for row in rows_of(found)}
    assert rows[f"mean: {LEARNED}"]["ours"] == pytest.approx(0.4)
    against = rows[f"mean: {LEARNED}; peer: {BASE}"]
    assert against["ratio"] == pytest.approx(4)
    assert against["difference"] == pytest.approx(0.3)
    assert against["low"] < 0.3 < against["high"]
    assert not any(UNTAUGHT in name for name in rows)


def test_an_interval_is_students():
    # Of 2, 4, 6: mean 4, standard error 2 / sqrt(3), t(0.975, 2) = 4.303.
    low, high = interval([2, 4, 6])
    assert (low, high) == pytest.approx((4 - 4.968, 4 + 4.968), abs=1e-3)
    assert interval([1.0]) == (None, None)


def test_the_checks_alone_keep_what_only_the_reader_refused():
    recipe = load_recipe("embedded")
    source = "Odo Krell built the tide organ in 1911."
    found = [
        ("Who built the tide organ in 1911?", "Odo Krell"),
        ("When did Odo Krell build the tide organ?", "1911"),
        ("When did Odo Krell build the tide organ?", "in 1911"),
        ("Who built the tide organ in 1912?", "Odo Krell"),
    ]

    async def knows_no_years(question: str) -> list[str | None]:
        return [None if question.startswith("When") else "Odo Krell"]

    gate = Gate(recipe, "Organs")
    checked = gate.check(0, source, found)
    read = asyncio.run(read_back(knows_no_years, checked, agreement=0.5, agreeing_share=0.5))
    judged = gate.settle(read)
    assert [each.reason for each in judged] == [None, "unanswered", "duplicate", "invented"]
    assert [pair.question for pair in checks_alone(judged, recipe)] == [found[0][0], found[1][0]]


@pytest.mark.parametrize(
    ("seconds", "taken", "epochs"),
    [
        # 4 s of start, 2 s an epoch
        (40.0, (6.0, 14.0), 18),
        (14.0, (6.0, 14.0), 5),
        # Less time than one epoch takes: one is trained all the same.
        (1.0, (6.0, 14.0), 1),
        # An epoch too short to be told from noise.
        (10.1, (1.1, 1.0), 46),
    ],
)
def test_raw_text_is_trained_as_long_as_the_pairs(seconds, taken, epochs):
    assert fitting_epochs(seconds, taken) == epochs


def test_another_writer_leaves_the_reader_and_its_key_as_they_were():
    one = Settings(generator_url="http://a/v1", generator_api_key="for a", _env_file=None)
    other = written_elsewhere(one, "http://b/v1")
    assert (other.generator_url, other.reader_url) == ("http://b/v1", "http://a/v1")
    assert other.reader_api_key.get_secret_value() == "for a"
    own = one.model_copy(update={"reader_url": "http://r/v1", "reader_api_key": SecretStr("for r")})
    other = written_elsewhere(own, "http://b/v1")
    assert (other.reader_url, other.reader_api_key.get_secret_value()) == ("http://r/v1", "for r")

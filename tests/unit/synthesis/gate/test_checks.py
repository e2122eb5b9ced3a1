"""What a pair shows by itself."""

import pytest

from lift_core.records import Recipe
from lift_core.synthesis.gate import Gate

SOURCE = (
    "The lighthouse of Marra was built by Odo Krell in 1712, and it burns seal oil. "
    "When the keepers left Marra they took three lamps with them. "
    "The company sold the oil. Is Marra cold in winter?"
)

LONG = " ".join(f"a{chr(97 + n)}lamp" for n in range(26)) + " and the lamp of the tower"


def verdict(question, answer):
    (judged,) = Gate(Recipe(), "Marra").check(3, SOURCE, [(question, answer)])
    assert judged.kept is (judged.reason is None)
    assert bool(judged.detail) is not judged.kept
    return judged.reason


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who built the lighthouse of Marra?", "Odo Krell", None),
        ("Who built the lighthouse of Marra", "Odo Krell", "form"),
        ("Who built the lighthouse of Marra?", "", "form"),
        ("Who built the lighthouse of Marra?", "...", "form"),
        ("Who built the lighthouse of Marra?", "Odo Krell in", "form"),
        ("What do keepers of Marra burn?", "seal oil seal oil seal oil seal oil", "form"),
        ("Who built the lighthouse of Marra?", "Odo Kr\ufffdll", "form"),
        ("Who?", "Odo Krell", "length"),
        ("Who built the lighthouse of Marra?", LONG, "length"),
        (f"Who built it where {LONG} {LONG} stood?", "Odo Krell", "length"),
    ],
)
def test_form_and_length(question, answer, reason):
    assert verdict(question, answer) == reason


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Question: who built the lighthouse of Marra?", "Odo Krell", "copied"),
        ("Who built the lighthouse of Marra?", "A: Odo Krell", "copied"),
        ("Who built the lighthouse of Marra?", "Odo Krell Q: What burns?", "copied"),
        ("The lighthouse of Marra was built by Odo Krell?", "Odo Krell", "copied"),
        ("Is Marra cold in winter?", "yes", None),
        ("Who built the lighthouse of Marra?", "not stated", "unanswered"),
        ("Who built the lighthouse of Marra?", "The text does not say.", "unanswered"),
        ("Who built the lighthouse of Marra?", "the lighthouse of Marra", "echo"),
        ("Did Krell build the lighthouse of Marra or the oil?", "the lighthouse", None),
    ],
)
def test_copies_and_empty_answers(question, answer, reason):
    assert verdict(question, answer) == reason


@pytest.mark.parametrize(
    "question",
    [
        "According to the text, who built the lighthouse of Marra?",
        "According to this passage, who built the lighthouse?",
        "What year is given in this passage for Marra?",
        "Who is the builder mentioned above?",
        "What does the author say about Marra?",
        "Which of the following was built by Krell?",
        "What did he build in 1712?",
        "When was it built by Krell?",
        "What is its name in Marra?",
        "Who built this?",
        "Where did they take the lamps?",
        "What was their oil made of?",
        "Who saw him at the lighthouse?",
        "What did the company sell?",
        "What is burnt at our lighthouse in winter?",
    ],
)
def test_questions_that_need_the_text_at_hand(question):
    assert verdict(question, "seal oil") == "context-bound"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When did Odo Krell build his lighthouse?", "1712"),
        ("What did the keepers take when they left Marra?", "three lamps"),
        ("What did keepers take with them from Marra?", "three lamps"),
        ("Which keepers took their lamps from Marra?", "the keepers that left"),
        ("Who was it that built the lighthouse of Marra?", "Odo Krell"),
        ("What oil did the company that left Marra sell?", "seal oil"),
        ("What does the lighthouse of Marra burn to this day?", "seal oil"),
        ("In Marra, which word is missing: When they left ____ they took this?", "lamps"),
    ],
)
def test_questions_that_stand_alone(question, answer):
    assert verdict(question, answer) != "context-bound"


def test_an_answer_must_stand_alone_too():
    assert verdict("Who left Marra with three lamps?", "they") == "context-bound"


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("In what year was the lighthouse of Marra built?", "Odo Krell", "mistyped"),
        ("When was the lighthouse of Marra built?", "Odo Krell", "mistyped"),
        ("When was the lighthouse of Marra built?", "in 1712", None),
        ("When did the lamps leave Marra?", "When the keepers left", None),
        ("How many lamps did the keepers of Marra take?", "seal oil", "mistyped"),
        ("How many lamps did the keepers of Marra take?", "three", None),
        ("Who built the lighthouse of Marra?", "1712", "mistyped"),
        ("Was the lighthouse of Marra built by Krell?", "Odo Krell", "mistyped"),
        ("Was the lighthouse of Marra built by Krell?", "Yes", None),
        ("What does the lighthouse of Marra burn?", "Yes", "mistyped"),
    ],
)
def test_the_kind_of_answer(question, answer, reason):
    assert verdict(question, answer) == reason

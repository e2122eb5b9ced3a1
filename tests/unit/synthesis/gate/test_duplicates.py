"""Questions that were asked before."""

import pytest

from lift_core.synthesis.gate.duplicates import Questions, normalised_question

KEPT = [
    "Who built the lighthouse of Marra?",
    "In which year was the lighthouse of Marra built?",
    "How many lamps burn in the lighthouse of Marra at night?",
]


@pytest.mark.parametrize("similarity", [0.6, 1.0])
def test_equal_questions_are_duplicates_at_any_similarity(similarity):
    questions = Questions(similarity, KEPT)
    assert questions.twin("who  BUILT the lighthouse of Marra ?") == normalised_question(KEPT[0])


@pytest.mark.parametrize(
    "question",
    [
        "Who was it that built the lighthouse of Marra?",
        "How many lamps burn at night in the lighthouse of Marra?",
        "How many lamps burnt in the lighthouse of Marra at night?",
    ],
)
def test_near_duplicates(question):
    assert Questions(0.6, KEPT).twin(question)
    assert Questions(1.0, KEPT).twin(question) is None


@pytest.mark.parametrize(
    "question",
    [
        "When was the lighthouse of Marra built?",
        "Who built the lighthouse of Skerry?",
        "How many lamps burn in the lighthouse of Skerry at night?",
        "Why do lamps burn in the lighthouse of Marra at night?",
        "Who closed the harbour of Marra?",
    ],
)
def test_questions_about_something_else_are_not(question):
    assert Questions(0.6, KEPT).twin(question) is None


def test_every_near_duplicate_among_many_is_found():
    kept = [f"What does the keeper number {n} of Marra carry up the tower at night?" for n in range(40)]
    questions = Questions(0.8, kept)
    again = [f"What does keeper number {n} of Marra carry up the tower at night then?" for n in range(40)]
    assert [questions.twin(question) for question in again] == [normalised_question(q) for q in kept]


def test_nothing_is_a_duplicate_of_nothing():
    assert Questions(0.6).twin(KEPT[0]) is None

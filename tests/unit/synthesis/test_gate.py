"""The gate: what is kept, and the reason for what is not."""

import pytest

from lift_core.records import GateRecipe, ProofRecipe, Recipe
from lift_core.synthesis.gate import Gate, normalised_question

SOURCE = "The lighthouse of Marra was built by Odo Krell in 1712, and it burns seal oil."


def judge(*found, recipe=None, seen=None):
    return Gate(recipe or Recipe(), seen if seen is not None else set()).judge(3, SOURCE, list(found))


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who built the lighthouse of Marra?", "Odo Krell", None),
        ("Who built the lighthouse of Marra?", "ODO KRELL.", None),
        ("Who built the lighthouse of Marra?", "Ilse Vanterpool", "ungrounded"),
        ("Who built the lighthouse of Marra", "Odo Krell", "form"),
        ("Who?", "Odo Krell", "form"),
        ("Who built the lighthouse of Marra?", "", "form"),
        ("Who built the lighthouse of Marra?", "Odo " * 100, "form"),
        ("Who is Odo Krell?", "Krell", "echo"),
        ("What did Odo Krell build in 1712?", "a lighthouse", "ungrounded"),
        ("In what year was the lighthouse built?", "712", "ungrounded"),
        ("According to the text, who built the lighthouse?", "Odo Krell", "context-bound"),
        ("What year is given in this passage for Marra?", "1712", "context-bound"),
    ],
)
def test_verdicts(question, answer, reason):
    (judged,) = judge((question, answer))
    assert (judged.kept, judged.reason) == (reason is None, reason)
    assert judged.pair.segment == 3


def test_a_number_is_grounded_as_a_whole():
    gate = Gate(Recipe(), set())
    source = "A probe that drifts by 0.4 degrees is withdrawn; the fee is 38,200 marenes."
    found = [("How far may a probe drift?", "4"), ("How far may it drift at most?", "0.4 degrees")]
    found += [("How high is the monthly fee?", "200 marenes"), ("What is the fee a month?", "38,200 marenes")]
    assert [judged.kept for judged in gate.judge(0, source, found)] == [False, True, False, True]


def test_the_same_question_is_kept_once_in_a_whole_document():
    seen = set()
    first = judge(("Who built Marra's lighthouse?", "Odo Krell"), seen=seen)
    again = judge(("who built   Marra's lighthouse?", "Odo Krell"), seen=seen)
    assert first[0].kept
    assert again[0].reason == "duplicate"
    assert normalised_question("Who  BUILT Marra's lighthouse ?") in seen


def test_a_segment_keeps_no_more_than_the_recipe_allows():
    recipe = Recipe(gate=GateRecipe(max_pairs_per_segment=2))
    judged = judge(
        *[(f"Who built lighthouse number {n} of Marra?", "Odo Krell") for n in range(4)], recipe=recipe
    )
    assert [j.reason for j in judged] == [None, None, "excess", "excess"]


def test_pairs_are_held_out_by_content_and_only_where_another_teaches_the_answer():
    recipe = Recipe(proof=ProofRecipe(held_out_share=0.5))
    same = [(f"Who was it that built lighthouse {n} of Marra?", "Odo Krell") for n in range(8)]
    once = [("When was the lighthouse of Marra built?", "1712")]
    judged = judge(*same, *once, recipe=recipe)
    held = [j.pair.held_out for j in judged]
    assert 0 < sum(held) < 8
    assert held[-1] is False
    assert [j.pair.held_out for j in judge(*same, *once, recipe=recipe)] == held

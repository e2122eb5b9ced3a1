"""The gate as a whole: what depends on the pairs kept before, resuming, reasons."""

import pytest

from lift_core.records import GateRecipe, JudgedPair, ProofRecipe, QAPair, Recipe
from lift_core.synthesis.gate import Gate, reasons

SOURCE = "The lighthouse of Marra was built by Odo Krell in 1712, and it burns seal oil."
BUILT = ("Who built the lighthouse of Marra?", "Odo Krell")


def judged_by(recipe, *segments, kept=()):
    gate = Gate(recipe, "Marra", kept)
    return [gate.settle(gate.check(number, SOURCE, found)) for number, found in enumerate(segments)]


def test_kept_and_rejected_pairs_say_whose_they_are_and_why():
    [[first, second]] = judged_by(Recipe(), [BUILT, ("Who burns the seal oil of Marra?", "Ilse Vanterpool")])
    assert first == JudgedPair(pair=QAPair(segment=0, question=BUILT[0], answer=BUILT[1]), kept=True)
    assert (second.kept, second.reason) == (False, "ungrounded")
    assert "Vanterpool" in second.detail


def test_the_same_question_is_kept_once_in_a_whole_document():
    again = ("who built   the lighthouse of Marra?", "Odo Krell")
    first, second = judged_by(Recipe(), [BUILT, again], [again])
    assert [found.reason for found in first + second] == [None, "duplicate", "duplicate"]


def test_a_rejected_question_may_be_asked_again():
    [judged] = judged_by(Recipe(), [(BUILT[0], "Ilse Vanterpool"), BUILT])
    assert [found.reason for found in judged] == ["ungrounded", None]


def test_near_duplicates_are_rejected_where_the_recipe_asks_for_it():
    near = ("Who was it that built the lighthouse of Marra?", "Odo Krell")
    strict = Recipe(gate=GateRecipe(similarity=0.7))
    assert [found.reason for [found] in judged_by(strict, [BUILT], [near])] == [None, "duplicate"]
    assert [found.reason for [found] in judged_by(Recipe(), [BUILT], [near])] == [None, None]


@pytest.mark.parametrize("similarity", [0.7, 1.0])
def test_a_gate_that_goes_on_judges_as_one_that_never_stopped(similarity):
    recipe = Recipe(gate=GateRecipe(similarity=similarity))
    other = [("What does the lighthouse of Marra burn?", "seal oil"), BUILT]
    _, whole = judged_by(recipe, [BUILT], other)
    [resumed] = judged_by(recipe, other, kept=[BUILT[0]])
    assert [found.reason for found in resumed] == [found.reason for found in whole] == [None, "duplicate"]


def test_checking_remembers_nothing():
    gate = Gate(Recipe(), "Marra")
    assert gate.check(0, SOURCE, [BUILT]) == gate.check(0, SOURCE, [BUILT])


def test_a_segment_keeps_no_more_than_the_recipe_allows():
    recipe = Recipe(gate=GateRecipe(max_pairs_per_segment=2))
    found = [
        (f"Who built the {word} lighthouse of Marra?", "Odo Krell") for word in ("old", "tall", "lit", "")
    ]
    [judged] = judged_by(recipe, found)
    assert [each.reason for each in judged] == [None, None, "excess", "excess"]


def test_pairs_are_held_out_by_content_and_only_where_another_teaches_the_answer():
    recipe = Recipe(gate=GateRecipe(max_pairs_per_segment=9), proof=ProofRecipe(held_out_share=0.5))
    words = ("old", "tall", "lit", "wide", "dark", "cold", "new", "grand")
    same = [(f"Who built the {word} lighthouse of Marra?", "Odo Krell") for word in words]
    once = [("When was the lighthouse of Marra built?", "1712")]
    [judged] = judged_by(recipe, same + once)
    assert all(each.kept for each in judged)
    held = [each.pair.held_out for each in judged]
    assert 0 < sum(held) < 8
    assert held[-1] is False
    assert [each.pair.held_out for each in judged_by(recipe, same + once)[0]] == held


def test_every_reason_that_the_gate_gives_is_explained():
    found = [BUILT, BUILT, ("Who?", "x"), ("No question", "x"), (BUILT[0], "unknown"), (BUILT[0], "Marra")]
    found += [("Q: who built the lighthouse of Marra?", "Krell"), ("What did he build at Marra?", "a lamp")]
    found += [("When did Marra burn?", "Krell"), ("What was built by Vanterpool at Marra?", "seal oil")]
    found += [("What does a baker put into bread?", "seal oil"), ("What burns at Marra?", "whale oil")]
    found += [("What does the lighthouse of Marra burn?", "seal oil")]
    [judged] = judged_by(Recipe(gate=GateRecipe(max_pairs_per_segment=1)), found)
    given = {each.reason for each in judged if each.reason}
    of_others = {"disagreement", "unanswered", "unsupported"}
    assert given | of_others == set(reasons())
    assert all(reasons().values())

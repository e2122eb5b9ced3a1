"""Does the source state what a pair says?"""

import pytest

from lift_core.records import GateRecipe, Recipe
from lift_core.synthesis.gate import Gate

TITLE = "A history of the Kalt islands"
SOURCE = (
    "The lighthouse of Marra was founded by Odo J. Krell in 1712 for 38,200 marenes, and it burns "
    "seal oil. "
    "A probe that drifts by 0.4 degrees is withdrawn. Twelve keepers of the Northern Light Board, most of "
    "them from France, lived there until Ilse Vanterpool closed it."
)


def verdict(question, answer, recipe=None, source=SOURCE, **more):
    (judged,) = Gate(recipe or Recipe(), TITLE).check(0, source, [(question, answer)], **more)
    return judged.reason


@pytest.mark.parametrize(
    "answer",
    [
        "seal oil",
        "SEAL OIL.",
        "it burns seal oil",
        "burning oil of the seal",
        "38200 marenes",
        "0.4 degrees",
        "12 keepers",
        "twelve keepers",
        "Odo Krell",
        "Krell",
        "French keepers",
        "NLB keepers",
        "the keepers lived there until the house was closed by Vanterpool",
    ],
)
def test_grounded_answers(answer):
    assert verdict("What do we know of the lighthouse of Marra?", answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        "whale oil",
        "200 marenes",
        "38,300 marenes",
        "4 degrees",
        "0.5 degrees",
        "712",
        "thirteen keepers",
        "Otto Krell",
        "a meeting with Ilse Krell",
        "German keepers",
        "the keepers slept there until the harbour was destroyed by pirates",
    ],
)
def test_ungrounded_answers(answer):
    assert verdict("What do we know of the lighthouse of Marra?", answer) == "ungrounded"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What did Krell found in 1712?", None),
        ("What did Krell found in 1713?", "invented"),
        ("What did Napoleon found in 1712?", "invented"),
        ("What did the twelve keepers of Marra burn?", None),
        ("What did the thirteen keepers of Marra burn?", "invented"),
        ("What burns in the lighthouse of the Kalt islands?", None),
        ("What burns in the lighthouse of the Skerry islands?", "invented"),
        ("Which French keepers burnt oil at Marra?", None),
        ("Which NLB lighthouse burns oil?", None),
        ("Which FBI lighthouse burns oil?", "invented"),
        ("Krell founded what at Marra?", None),
    ],
)
def test_names_and_numbers_of_the_question(question, reason):
    assert verdict(question, "seal oil") == reason


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What oil does the lighthouse burn?", None),
        ("What does a baker put into rye bread?", "unrelated"),
        ("Which colour has the harbour wall's flag?", "unrelated"),
        ("What is the history of islands?", None),
    ],
)
def test_what_the_question_is_about(question, reason):
    assert verdict(question, "seal oil") == reason


def test_grounding_can_be_switched_off():
    recipe = Recipe(gate=GateRecipe(grounded=False))
    assert verdict("What does the lighthouse of Marra burn?", "whale oil", recipe) is None


def test_pairs_about_a_whole_section_may_count_and_compare():
    question = "How many people of the lighthouse of Marra are named?"
    assert verdict(question, "two") == "ungrounded"
    assert verdict(question, "two", whole_section=True) is None
    assert verdict("What came first, Marra or Napoleon?", "Marra", whole_section=True) == "invented"


@pytest.mark.parametrize(
    ("source", "question", "answer"),
    [
        ("东京塔建于1958年。", "东京塔建于哪一年？", "1958年"),
        (
            "Der alte Wärter trug das schwere Öl in den Turm.",
            "Was trug der Wärter in den Turm?",
            "das schwere Öl",
        ),
        ("بني البرج في عام 1958 في المدينة.", "متى بني البرج في المدينة؟", "عام 1958"),
        ("Башню построили в 1958 году.", "Когда построили башню?", "в 1958 году"),
    ],
)
def test_other_languages(source, question, answer):
    assert verdict(question, answer, source=source) is None

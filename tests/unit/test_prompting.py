"""Prompts: the same for training and asking, and never longer than the server's context."""

from lift_core.prompting import messages, truncated, with_context
from lift_core.records import TrainingRecipe


def test_a_title_with_braces_is_taken_as_it_is():
    system, user = messages(TrainingRecipe(), "The {title} of {0}", "Who?")
    assert '"The {title} of {0}"' in system["content"]
    assert user == {"role": "user", "content": "Who?"}


def test_a_short_text_stays_whole():
    assert truncated("A lamp burns oil.", 100) == "A lamp burns oil."


def test_a_long_text_keeps_its_beginning_and_its_end_within_the_budget():
    text = "beginning " + "middle " * 10_000 + "end"
    cut = truncated(text, 100)
    assert cut.startswith("beginning") and cut.endswith("end")
    assert len(cut) <= 100 * 3 + len("\n[…]\n")


def test_no_room_leaves_no_text():
    assert truncated("A lamp burns oil.", -5).strip() == "[…]"


def test_the_question_comes_last():
    assert with_context("Lamps", "A lamp burns oil.", "What burns?").endswith("What burns?")

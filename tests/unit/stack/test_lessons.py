"""What the embedded generator is taught: each answer with its sentence, and never what it is measured on."""

import random

from lift_core.stack import lessons
from lift_core.stack.lessons import (
    NOT_STATED,
    SHIPPED_EXAMPLES,
    Lesson,
    kept_back,
    lessons_of,
    measured_articles,
)
from lift_core.synthesis.prompts import lines_prompt

TEXT = (
    "The lighthouse of Marra was built by Odo Krell in 1712. It cost four million crowns.\n\n"
    "In the end Odo Krell moved to Sarn. Today the keeper of the lighthouse is Ilse Vanterpool."
)


def asked(question, answer, **more):
    return {"question": question, "answers": [answer], **more}


def taught(*questions, **more):
    document = {"doc_id": "d", "title": "The_Lighthouse", "text": TEXT, "qas": list(questions), **more}
    return list(lessons_of(document))


def test_all_pairs_of_a_sentence_make_one_lesson():
    [first, second] = taught(
        asked("Who built the lighthouse of Marra?", "Odo Krell"),
        asked("Who keeps the lighthouse?", "Ilse Vanterpool"),
        asked("What did Odo Krell build?", "lighthouse of Marra"),
    )
    assert [pair[1] for pair in first.pairs] == ["Odo Krell", "lighthouse of Marra"]
    assert first.title == "The Lighthouse"
    assert first.sentence == "The lighthouse of Marra was built by Odo Krell in 1712."
    assert second.context == "In the end Odo Krell moved to Sarn."


def test_an_answer_is_looked_for_in_its_own_paragraph():
    spans = [[0, TEXT.index("\n\n")], [TEXT.index("\n\n") + 2, len(TEXT)]]
    [lesson] = taught(asked("Who moved to Sarn?", "Odo Krell", paragraph=1), paragraph_spans=spans)
    assert lesson.sentence == "In the end Odo Krell moved to Sarn."


def test_what_is_no_short_verbatim_answer_is_left_out():
    assert not taught(
        asked("Who painted it?", "Cordelia Vane"),
        asked("What happened?", TEXT[:85]),
        asked("No question", "Odo Krell"),
        {"question": "Nothing?", "answers": []},
    )


def test_a_sentence_is_written_about_and_then_read_behind_the_same_beginning():
    lesson = Lesson(
        "Marra", "Before.", "Odo built it.", (("Who built it?", "Odo"),), ("Who is the keeper of it?",)
    )
    writing, reading, refusing = lesson.examples(random.Random(0))
    assert writing == (lines_prompt("Marra", "Before.", "Odo built it."), "Q: Who built it?\nA: Odo\n")
    assert reading == (
        "Title: Marra\nContext: Before.\nSentence: Odo built it.\nQuestion: Who built it?\nAnswer:",
        " Odo\n",
    )
    assert refusing == (f"{lesson.shared}Question: Who is the keeper of it?\nAnswer:", f" {NOT_STATED}\n")
    assert all(prompt.startswith(lesson.shared) for prompt, _ in (writing, reading))


def test_what_cannot_be_answered_is_asked_elsewhere_or_of_what_is_not_there(monkeypatch):
    monkeypatch.setattr(lessons, "UNANSWERABLE_SHARE", 1.0)
    first, second = taught(
        asked("In what year was the lighthouse of Marra built (1712 or later)?", "1712"),
        asked("Who keeps the lighthouse near Ilse Vanterpool?", "lighthouse is Ilse Vanterpool"),
    )
    elsewhere, number = first.unanswerable
    assert elsewhere == "Who keeps the lighthouse near Ilse Vanterpool?"
    assert "Marra built (" in number
    assert "1712" not in number
    assert second.unanswerable[0].startswith("In what year")
    # A name of the document that neither the sentence nor what precedes it has.
    assert second.unanswerable[1:] == ("Who keeps the lighthouse near Marra?",)


def test_the_documents_that_are_kept_back_do_not_depend_on_their_order():
    ids = [f"article-{number}" for number in range(23)]
    kept = measured_articles(ids)
    assert len(kept) == 10
    assert measured_articles(list(reversed(ids))) == kept
    assert kept_back("squad_dev", ids) == kept


def test_a_tenth_of_the_other_sets_and_the_examples_are_kept_back():
    ids = [f"story-{number}" for number in range(1000)]
    kept = kept_back("fairytaleqa", [*ids, *SHIPPED_EXAMPLES])
    assert kept >= SHIPPED_EXAMPLES
    assert 70 < len(kept) < 130

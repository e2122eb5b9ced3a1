"""What the embedded generator is taught: each answer with its sentence, and never what it is measured on."""

import json
import random

from lift_core.stack import lessons
from lift_core.stack.lessons import (
    SHIPPED_EXAMPLES,
    Lesson,
    kept_back,
    lessons_of,
    measured_articles,
    read_set,
)
from lift_core.synthesis.prompts import NOT_STATED

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


def test_a_sentence_is_chosen_from_asked_about_and_read_behind_the_same_beginning():
    pairs = (("Who built it?", "Odo"), ("When?", "1712"))
    lesson = Lesson("Marra", "Before.", "Odo built it in 1712.", pairs, pairs[:1], ("Who is its keeper?",))
    beginning = "Title: Marra\nContext: Before.\nSentence: Odo built it in 1712.\n"
    assert lesson.choosing(random.Random(0)) == [(f"{beginning}Answers:\n", "Odo\n")]
    assert lesson.asking() == [(f"{beginning}Answer: Odo\nQuestion:", " Who built it?\n")]
    assert lesson.reading() == [
        (f"{beginning}Question: Who built it?\nAnswer:", " Odo\n"),
        (f"{beginning}Question: When?\nAnswer:", " 1712\n"),
        (f"{beginning}Question: Who is its keeper?\nAnswer:", f" {NOT_STATED}\n"),
    ]


def test_what_the_gate_would_reject_is_read_but_not_written():
    [lesson] = taught(
        asked("Who built the lighthouse of Marra?", "Odo Krell"), asked("When was it built?", "1712")
    )
    assert [answer for _, answer in lesson.pairs] == ["Odo Krell", "1712"]
    assert [answer for _, answer in lesson.worth_writing] == ["Odo Krell"]


def test_of_a_set_in_the_format_of_squad_the_answers_that_people_agree_on_count(tmp_path):
    def answers(*texts):
        return [{"text": text, "answer_start": 0} for text in texts]

    paragraphs = [
        {
            "context": "The lighthouse of Marra was built by Odo Krell.\n",
            "qas": [{"question": " who built it? ", "answers": answers("Odo Krell", "Krell", "Odo Krell.")}],
        },
        {
            "context": "Ilse keeps it.",
            "qas": [{"question": "Who?", "answers": answers("Ilse", "keeps it", "nobody")}],
        },
    ]
    file = tmp_path / "set.json"
    file.write_text(json.dumps({"data": [{"title": "Marra%27s_Light", "paragraphs": paragraphs}]}))
    [document] = read_set(file)
    assert document["title"] == "Marra's_Light"
    assert document["qas"] == [{"question": "Who built it?", "answers": ["Odo Krell"], "paragraph": 0}]
    begin, end = document["paragraph_spans"][1]
    assert document["text"][begin:end] == "Ilse keeps it."


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
    assert kept_back("squad_dev.jsonl", ids) == kept


def test_a_tenth_of_the_other_sets_and_the_examples_are_kept_back():
    ids = [f"story-{number}" for number in range(1000)]
    kept = kept_back("fairytaleqa.jsonl", [*ids, *SHIPPED_EXAMPLES])
    assert kept >= SHIPPED_EXAMPLES
    assert 70 < len(kept) < 130

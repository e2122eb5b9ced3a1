"""What the embedded generator is taught: each answer with its sentence, and never what it is measured on."""

import random

from lift_core.stack.teaching import Lesson, lessons_of, measured_articles
from lift_core.synthesis.prompts import read_lines

TEXT = (
    "The lighthouse of Marra was built by Odo Krell. It cost four million crowns.\n\n"
    "Odo Krell was born in Sarn. The keeper of the lighthouse is Ilse Vanterpool."
)


def asked(question, answer, **more):
    return {"question": question, "answers": [answer], **more}


def lessons(*questions, **more):
    document = {"doc_id": "d", "title": "The_Lighthouse", "text": TEXT, "qas": list(questions), **more}
    return list(lessons_of(document))


def test_all_pairs_of_a_sentence_make_one_lesson_with_the_generators_own_prompt():
    [first, second] = lessons(
        asked("Who built the lighthouse of Marra?", "Odo Krell"),
        asked("Who keeps the lighthouse?", "Ilse Vanterpool"),
        asked("What did Odo Krell build?", "lighthouse of Marra"),
    )
    assert [pair[1] for pair in first.pairs] == ["Odo Krell", "lighthouse of Marra"]
    assert first.prompt.startswith("Title: The Lighthouse\n")
    assert "Sentence: The lighthouse of Marra was built by Odo Krell.\n" in first.prompt
    assert "Context: Odo Krell was born in Sarn.\n" in second.prompt


def test_an_answer_is_looked_for_in_its_own_paragraph():
    spans = [[0, TEXT.index("\n\n")], [TEXT.index("\n\n") + 2, len(TEXT)]]
    [lesson] = lessons(asked("Who was born in Sarn?", "Odo Krell", paragraph=1), paragraph_spans=spans)
    assert "Sentence: Odo Krell was born in Sarn.\n" in lesson.prompt


def test_what_is_no_short_verbatim_answer_is_left_out():
    assert not lessons(
        asked("Who painted it?", "Cordelia Vane"),
        asked("What happened?", TEXT[:77]),
        asked("No question", "Odo Krell"),
        {"question": "Nothing?", "answers": []},
    )


def test_the_completion_is_what_the_lines_profile_reads():
    pairs = (("Who built it?", "Odo Krell"), ("What did it cost?", "four million crowns"))
    read = read_lines(Lesson("", pairs).completion(random.Random(0)))
    assert sorted(read) == sorted(pairs)


def test_the_articles_that_are_kept_back_do_not_depend_on_their_order():
    ids = [f"article-{number}" for number in range(23)]
    kept = measured_articles(ids)
    assert len(kept) == 10
    assert measured_articles(list(reversed(ids))) == kept

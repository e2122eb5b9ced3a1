"""What is asked, word for word where an adapter was taught it, and what is read from a completion."""

import json

import jsonschema
import pytest

from lift_core.synthesis.profiles import load_profile
from lift_core.synthesis.prompts import (
    NOT_STATED,
    asking_prompt,
    choosing_prompt,
    global_prompt,
    judging_prompt,
    read_answer,
    read_answers,
    read_judgement,
    read_lines,
    read_pairs,
    read_question,
    reading_prompt,
    writing_prompt,
)

LINES, JSON = load_profile("lines", 1), load_profile("json", 1)


def written(profile=JSON, **values):
    given = {"title": "Marra", "context": "It is old.", "segment": "Odo Krell built it in 1712.", "pairs": 4}
    return writing_prompt(profile, **given | values)


def user(prompt):
    return prompt.messages[-1]["content"]


# --- asking -----------------------------------------------------------------------------------


def test_lines_are_asked_for_without_pairs_or_names():
    expected = (
        "Title: Marra\nContext: It is old.\nSentence: Odo Krell built it.\n"
        "Questions and answers about the sentence:\n"
    )
    prompt = written(LINES, context="It\n is old.", segment="Odo Krell\nbuilt it.", touch=("1712",))
    assert (prompt.text, prompt.messages, prompt.stop) == (expected, (), ())
    assert written(LINES, context="").text.splitlines()[1] == "Context: "


def test_answers_are_chosen_and_asked_for_as_the_embedded_generator_was_taught():
    profile = load_profile("answers", 1)
    seen = {"title": "Marra", "context": "It\n is old.", "segment": "Odo Krell\nbuilt it."}
    beginning = "Title: Marra\nContext: It is old.\nSentence: Odo Krell built it.\n"
    chosen = choosing_prompt(profile, **seen)
    assert (chosen.text, chosen.stop) == (f"{beginning}Answers:\n", ())
    asked = asking_prompt(profile, **seen, answer="Odo Krell")
    assert (asked.text, asked.stop) == (f"{beginning}Answer: Odo Krell\nQuestion:", ("\n",))


def test_a_reader_is_asked_as_the_embedded_one_was_taught():
    prompt = reading_prompt(
        load_profile("reading", 1), title="Marra", context="Old.", segment="Odo built\nit.", question="Who?"
    )
    assert prompt.text == "Title: Marra\nContext: Old.\nSentence: Odo built it.\nQuestion: Who?\nAnswer:"
    assert prompt.stop == ("\n",)


def test_braces_in_a_document_are_text():
    segment = "The call f'{title} {segment}' prints {pairs}."
    assert f"Sentence: {segment}\n" in written(LINES, title="{context}", segment=segment).text
    assert segment in user(written(segment=segment))
    assert "Title: {context}\n" in user(written(title="{context}"))


def test_prompts_of_one_document_begin_alike_up_to_their_contexts():
    one, other = written(context="A b c.", segment="D."), written(context="A b c. D.", segment="E.", pairs=9)
    assert one.messages[0] == other.messages[0]
    shared = user(one)[: user(one).index("A b c.") + len("A b c.")]
    assert user(other).startswith(shared)


def test_a_chat_keeps_the_lines_of_a_table():
    table = "| year | height |\n|---|---|\n| 1712 | 31 m |"
    assert table in user(written(segment=table))


def test_json_asks_for_exactly_so_many_pairs():
    prompt = written(pairs=3)
    assert "exactly 3 " in user(prompt)
    pair = {"question": "Who built it?", "answer": "Odo Krell"}
    jsonschema.validate({"pairs": [pair] * 3}, prompt.json_schema)
    for wrong in ([pair] * 2, [pair] * 4, [{"question": "Who?"}] * 3, [pair | {"source": "x"}] * 3):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"pairs": wrong}, prompt.json_schema)


def test_json_is_told_what_no_pair_touched_yet():
    assert "Odo Krell; 1712" in user(written(touch=("Odo Krell", "1712")))
    assert "each of these" not in user(written())


def test_a_context_that_is_empty_is_said_to_be():
    assert "(The passage is the beginning.)" in user(written(context=""))
    assert "(The passage is the beginning.)" not in user(written())


def test_a_section_and_a_pair_to_judge_are_shown_whole():
    asked = global_prompt(load_profile("global", 1), title="Marra", section="First.\n\nLast.", pairs=2)
    assert "First.\n\nLast." in user(asked)
    assert asked.json_schema["properties"]["pairs"]["minItems"] == 2
    judged = judging_prompt(
        load_profile("judging", 1), title="Marra", source="Odo.", question="Who?", answer="Odo Krell"
    )
    assert user(judged).endswith("Question: Who?\nAnswer: Odo Krell")
    jsonschema.validate({"why": "It says so.", "supported": True}, judged.json_schema)


# --- reading ----------------------------------------------------------------------------------


def test_lines_are_read_and_chatter_is_ignored():
    text = "Sure!\nQ: Who built it?\nA: Odo Krell\n\nQ:  When? \nA: 1712 \nQ: no answer follows"
    expected = [("Who built it?", "Odo Krell"), ("When?", "1712")]
    assert read_lines(text) == read_pairs(LINES, text) == expected


WHOLE = json.dumps(
    {"pairs": [{"question": " Who\nbuilt it? ", "answer": "Odo"}, {"question": "When?", "answer": 1712}]}
)
READ = [("Who built it?", "Odo"), ("When?", "1712")]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (WHOLE, READ),
        (f"Here they are:\n```json\n{WHOLE}\n```", READ),
        (WHOLE[WHOLE.index("[") :][:-1], READ),
        (
            '{"question": "Who {really}?", "answer": "Odo"} {"question": "When?", "answer": "1712"}',
            [("Who {really}?", "Odo"), ("When?", "1712")],
        ),
        (WHOLE[:-12], READ[:1]),
        ('{"pairs": [{"question": "Who?", "answer": null}, {"question": "", "answer": "x"}]}', []),
        ("I cannot help with that.", []),
        ("", []),
        ('{"a":' * 5000, []),
    ],
    ids=[
        "whole",
        "in a fence",
        "no outer object",
        "one by one",
        "cut off",
        "empty",
        "refused",
        "nothing",
        "deep",
    ],
)
def test_pairs_are_read_from_json_in_whatever_it_is_wrapped(completion, expected):
    assert read_pairs(JSON, completion) == expected


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (" Odo Krell", "Odo Krell"),
        (" 1712\nQuestion: And?", "1712"),
        (" not stated", None),
        ("Not stated.", None),
        ("  \n", None),
        ("Stated in 1712", "Stated in 1712"),
    ],
)
def test_a_reader_answers_or_does_not_find_it(completion, answer):
    assert read_answer(completion) == answer


def test_a_judgement_is_read_and_what_is_none_supports_nothing():
    assert read_judgement('{"why": "It says 1712.", "supported": true}') == (True, "It says 1712.")
    assert read_judgement('So: {"why": "It says\\n1713.", "supported": false}') == (False, "It says 1713.")
    for unreadable in ("Yes, it is supported.", '{"supported": "yes"}', ""):
        supported, why = read_judgement(unreadable)
        assert not supported
        assert "cannot be read" in why


def test_an_instruct_model_is_told_what_to_say_where_it_finds_no_answer():
    prompt = reading_prompt(
        load_profile("reading", 2), title="Marra", context="", segment="Odo built it.", question="Who?"
    )
    system, asked = prompt.messages
    assert NOT_STATED in system["content"]
    assert asked["content"].endswith("Passage:\nOdo built it.\n\nQuestion: Who?")


def test_answers_are_what_stands_in_the_segment_the_most_named_first():
    segment = "In 1712, Odo Krell built the lighthouse of Marra for 1,200 crowns."
    named = [
        "Odo Krell\n1712\nthe lighthouse\n",
        "  1,200 crowns\n 1712\n1712\nIlse Krell\n",
        "the lighthouse of Marra\nKrell\nodd\n\n",
    ]
    assert read_answers(named, segment) == ["1712", "Odo Krell", "the lighthouse", "1,200 crowns"]
    assert read_answers([], segment) == read_answers(["", "the\n"], segment) == []


def test_marks_of_markdown_and_a_full_stop_are_no_part_of_an_answer():
    assert read_answers(["# The Lighthouse\n**1712**\nMarra.\n##\n"], "# The Lighthouse 1712 Marra.") == [
        "The Lighthouse",
        "1712",
        "Marra",
    ]


def test_a_part_of_a_word_and_another_spelling_are_no_answers():
    segment = "In the 1790s, Odo Krell built the lighthouse for 1,200 crowns."
    assert read_answers(["light\n1790\nKrell\n1200\n1,200"], segment) == ["Krell", "1,200"]


def test_a_question_is_one_line():
    assert read_question(" Who built it?\nAnswer: Odo") == "Who built it?"
    assert read_question(" \n") == ""

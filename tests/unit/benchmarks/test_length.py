"""The length benchmark: its document is longer than the context, and its reader cannot see the last third."""

import json
import math
import unicodedata

import pytest
from transformers import AutoTokenizer

from lift_core.benchmarks.length import (
    ADAPTER,
    BASE,
    BEGINNING,
    LAST_THIRD,
    LENGTH,
    MAX_TOKENS,
    READER,
    LongDocument,
    Question,
    evenly,
    make_document,
    read_articles,
    reading_prompt,
    rows_of,
    visible_part,
)
from lift_core.benchmarks.routing import kept_back
from lift_core.documents import read_text
from lift_core.errors import LiftError
from lift_core.records import Recipe

CONTEXT = 900
RECIPE = Recipe(base_model="tiny-random")


@pytest.fixture(scope="module")
def tokenizer(tiny):
    """A token is a byte."""
    return AutoTokenizer.from_pretrained(str(tiny))


def article(title, paragraphs):
    """An article with two questions on every paragraph, which say where they belong."""
    text = "\n\n".join(paragraphs)
    starts = [text.index(each) for each in paragraphs]
    return {
        "doc_id": f"squad:{title}",
        "title": title,
        "context": text,
        "paragraph_spans": [
            [start, start + len(each)] for start, each in zip(starts, paragraphs, strict=True)
        ],
        "qas": [
            {"id": f"{number}{part}", "question": f"{each}?", "answers": [part], "paragraph": number}
            for number, each in enumerate(paragraphs)
            for part in "ab"
        ],
    }


LIGHTHOUSE = article("Light_house", [f"In the year {1700 + n} the café of Marra burned." for n in range(20)])
ORGAN = article("Organ", [f"The tide organ of Vellmar has {n} pipes of lead." for n in range(100, 120)])


@pytest.fixture
def document(tokenizer):
    return make_document([LIGHTHOUSE, ORGAN], tokenizer, math.ceil(LENGTH * CONTEXT))


# --- the document -----------------------------------------------------------------------------


def test_the_document_is_longer_than_the_context_by_no_more_than_it_must(document, tokenizer):
    wanted = math.ceil(LENGTH * CONTEXT)
    assert len(tokenizer.encode(document.text, add_special_tokens=False)) == len(document.ends)
    assert CONTEXT < wanted <= len(document.ends)
    without_last = document.text[: document.text.rindex("\n\n")]
    assert len(tokenizer.encode(without_last, add_special_tokens=False)) < wanted


def test_the_pipeline_reads_its_title_and_its_text_as_they_are(document):
    assert document.title == "Light house and Organ"
    assert read_text(document.text.encode(), "long.md") == (document.title, document.text)


def test_a_title_names_only_articles_that_are_in_the_document(tokenizer):
    assert make_document([LIGHTHOUSE, ORGAN], tokenizer, 300).title == "Light house"


def test_every_question_lies_where_its_paragraph_does(document):
    assert len(document.questions) == 2 * document.text.count("\n\n")
    for each in document.questions:
        assert document.text[each.begin : each.end] == each.question.removesuffix("?")


def test_text_that_the_pipeline_would_normalise_is_normalised_before_it_is_counted(tokenizer):
    decomposed = article(
        "Light", [unicodedata.normalize("NFD", "Café, café and café.") + "x" * 40, "It burned."]
    )
    found = make_document([decomposed], tokenizer, 80)
    assert read_text(found.text.encode(), "long.md")[1] == found.text
    assert {found.text[each.begin : each.end] for each in found.questions} >= {"It burned."}


def test_articles_that_are_too_few_are_said_to_be(tokenizer):
    with pytest.raises(LiftError, match=r"needs a document of 9,999: take the whole set"):
        make_document([LIGHTHOUSE], tokenizer, 9_999)


def test_only_articles_that_the_generator_was_never_taught_are_taken_the_longest_first(tmp_path):
    articles = [article(f"A{n}", ["x" * (10 + n), f"Number {n}."]) for n in range(30)]
    (tmp_path / "squad_dev.jsonl").write_text("\n".join(json.dumps(each) for each in articles) + "\n")
    found = read_articles(tmp_path)
    assert {each["doc_id"] for each in found} == kept_back([each["doc_id"] for each in articles])
    lengths = [len(each["context"]) for each in found]
    assert lengths == sorted(lengths, reverse=True)


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LiftError, match=r"squad_dev\.jsonl is missing"):
        read_articles(tmp_path)


# --- who sees what ----------------------------------------------------------------------------


def test_the_last_third_begins_after_two_thirds_of_the_tokens():
    text = "abcdefghi"
    questions = tuple(Question(letter, (letter,), at, at + 1) for at, letter in enumerate(text))
    found = LongDocument("t", text, tuple(range(1, 10)), questions)
    assert "".join(each.question for each in found.last_third()) == "ghi"
    # A paragraph that begins before it is not part of it, wherever it ends.
    across = LongDocument("t", text, tuple(range(1, 10)), (Question("?", ("x",), 5, 9),))
    assert across.last_third() == []
    # Tokens count, not characters: the first of these has four of them.
    uneven = LongDocument("t", text, (4, 5, 6, 7, 8, 9), questions)
    assert "".join(each.question for each in uneven.last_third()) == "hi"


def test_the_reader_sees_nothing_of_the_last_third(document, tokenizer):
    visible = visible_part(document, tokenizer, RECIPE, CONTEXT)
    assert document.text.startswith(visible)
    last = document.last_third()
    assert last
    assert all(each.begin >= len(visible) for each in last)
    assert all(each.question.removesuffix("?") not in visible for each in last)
    assert not set(last) & set(document.seen(visible))


def test_the_reader_sees_as_much_as_fits_beside_question_and_answer(document, tokenizer):
    visible = visible_part(document, tokenizer, RECIPE, CONTEXT)
    prompts = [
        reading_prompt(tokenizer, RECIPE, document.title, visible, each.question)
        for each in document.questions
    ]
    longest = max(map(len, prompts)) + MAX_TOKENS
    assert CONTEXT - 20 < longest <= CONTEXT
    assert visible in tokenizer.decode(prompts[0])
    assert tokenizer.decode(prompts[0]).count(document.questions[0].question) == 1


def test_a_context_that_holds_no_text_gives_none(document, tokenizer):
    assert visible_part(document, tokenizer, RECIPE, 50) == ""


def test_questions_are_taken_from_all_over():
    questions = [Question(str(n), (), n, n) for n in range(10)]
    assert [each.question for each in evenly(questions, 4)] == ["0", "2", "5", "7"]
    assert evenly(questions, 99) == questions


# --- figures ----------------------------------------------------------------------------------


def test_rows_give_means_of_both_and_bounds_of_their_difference():
    ours, reader, base = [1.0, 0.5] * 20, [0.5, 0.25] * 20, [0.5, 1.0] * 20
    scores = {LAST_THIRD: {ADAPTER: ours, READER: reader, BASE: base}}
    beside_reader, beside_base = rows_of(scores, ", bounded")
    assert beside_reader["name"] == f"{LAST_THIRD}: {ADAPTER}; peer: {READER}, bounded"
    assert (beside_reader["n"], beside_reader["ours"], beside_reader["peer"]) == (40, 0.75, 0.375)
    assert beside_reader["low"] < beside_reader["difference"] == 0.375 < beside_reader["high"]
    # The same means, but the questions that one side answers the other does not.
    assert beside_base["difference"] == 0
    assert beside_base["low"] < 0 < beside_base["high"]


def test_few_questions_have_no_interval_and_none_no_row():
    few = {ADAPTER: [1.0] * 5, READER: [0.0] * 5, BASE: [0.5] * 5}
    none = {ADAPTER: [], READER: [], BASE: []}
    rows = rows_of({LAST_THIRD: few, BEGINNING: none})
    assert [(row["n"], row["low"], row["high"]) for row in rows] == [(5, None, None)] * 2


def test_an_end_that_too_few_questions_bound_is_none_and_not_infinite():
    # All but one question are answered alike: many resamples know no error of their own.
    found = {ADAPTER: [1.0, *[0.0] * 19], READER: [0.0] * 20, BASE: [0.0] * 20}
    rows = rows_of({LAST_THIRD: found})
    assert json.dumps(rows, allow_nan=False)
    assert any(row["low"] is None or row["high"] is None for row in rows)

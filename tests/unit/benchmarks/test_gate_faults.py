"""Planting: a planted fault is one, a good pair is answered where it is put, a seed makes the same set."""

import json
import random
import re

import pytest

from lift_core.benchmarks import gate_gold
from lift_core.benchmarks.gate_faults import FAULTS, plant
from lift_core.benchmarks.gate_gold import gold_pairs, read_gold, split_of, stands_alone, untaught
from lift_core.benchmarks.gate_rewording import (
    bind_to_context,
    change_number,
    names_of,
    number_values,
    reword,
    swap_name,
)
from lift_core.errors import LiftError

KEEPERS = ("Anna Holm", "Odo Marsh", "Berta Lund", "Emil Strand", "Karin Dahl", "Nils Berg")
COLOURS = ("red", "white", "green", "yellow", "blue", "black")
TOWNS = ("Marra", "Tollen", "Vesby", "Ostrand", "Kallum", "Hjerting")


def article(number):
    """Paragraphs that all say the same things of another lighthouse, each with its questions."""
    paragraphs, asked = [], []
    for place, (keeper, town, colour) in enumerate(zip(KEEPERS, TOWNS, COLOURS, strict=True)):
        year, steps = 1801 + 17 * place + number, 112 + 31 * place
        paragraphs.append(
            f"The lighthouse near {town} was built in {year} by masons from the valley. It stands on a low "
            f"cliff, where the fishermen of the village, led by {keeper}, had asked for it. A visitor climbs "
            f"{steps} steps to its gallery, which {town} has painted {colour}."
        )
        asked += [
            (f"When was the lighthouse near {town} built?", str(year), place),
            (f"Who led the fishermen that asked for the lighthouse of {town} in {year}?", keeper, place),
            (f"How many steps does a visitor climb at the lighthouse of {town}?", str(steps), place),
            (f"What did {keeper} ask for at {town}?", "the lighthouse", place),
            (f"What colour is the gallery that {town} has painted?", colour, place),
        ]
    spans, at = [], 0
    for text in paragraphs:
        spans.append([at, at + len(text)])
        at += len(text) + 2
    return {
        "doc_id": f"squad:Lighthouses_{number}",
        "title": f"Lighthouses_{number}",
        "context": "\n\n".join(paragraphs),
        "paragraph_spans": spans,
        "qas": [{"question": q, "answers": [a], "paragraph": p} for q, a, p in asked],
    }


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in gate_gold.SETS:
        rows = [article(number) for number in range(4)] if name == "squad_dev" else []
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # Fewer than ten articles: all of them count as kept back.
    return read_gold(folder, "measured")


@pytest.fixture(scope="module")
def planted(documents):
    return plant(documents, per_fault=5, seed=1)


def of(planted, label):
    found = [each for each in planted if each.label == label]
    assert found, f"nothing is planted as {label}"
    return found


def gold(documents):
    return {(each.doc_id, pair.question, pair.answer) for each in documents for pair in each.pairs}


def source_of(documents, pair):
    (document,) = (each for each in documents if each.doc_id == pair.document)
    assert document.text[pair.start : pair.end] == document.segments[pair.segment].text
    return document.source(pair.segment)


def test_every_fault_is_planted_and_as_many_pairs_are_good(planted):
    counts = {label: len(of(planted, label)) for label in ("good", *FAULTS)}
    assert {each.label for each in planted} == set(counts)
    assert counts.pop("good") == sum(counts.values())
    assert set(counts.values()) == {5}


def test_one_seed_makes_one_set_and_another_seed_another(documents, planted):
    assert plant(documents, per_fault=5, seed=1) == planted
    assert plant(documents, per_fault=5, seed=2) != planted


def test_pairs_come_in_document_order_and_a_pair_of_people_is_used_once(documents, planted):
    order = {each.doc_id: place for place, each in enumerate(documents)}
    places = [(order[each.document], each.segment) for each in planted]
    assert places == sorted(places)
    good = [(each.document, each.question) for each in of(planted, "good")]
    assert len(good) == len(set(good))


def test_a_good_pair_is_untouched_and_its_segment_has_the_answer(documents, planted):
    for pair in of(planted, "good"):
        assert (pair.document, pair.question, pair.answer) in gold(documents)
        (document,) = (each for each in documents if each.doc_id == pair.document)
        assert pair.answer in document.segments[pair.segment].text


def test_a_planted_number_is_not_in_the_source(documents, planted):
    for pair in of(planted, "number in answer"):
        assert number_values(pair.answer).isdisjoint(number_values(source_of(documents, pair)))
        assert any(pair.question == question for _, question, _ in gold(documents))
    for pair in of(planted, "number in question"):
        assert not number_values(pair.question) <= number_values(source_of(documents, pair))


@pytest.mark.parametrize("label", ["name in answer", "name in question"])
def test_a_planted_name_is_one_of_the_document_and_near_says_whether_the_source_has_it(
    documents, planted, label
):
    names = {*KEEPERS, *TOWNS}
    for pair in of(planted, label):
        assert (pair.document, pair.question, pair.answer) not in gold(documents)
        source = source_of(documents, pair)
        said = [
            name for name in names if name in (pair.answer if label == "name in answer" else pair.question)
        ]
        assert said
        if not pair.near:
            assert any(name not in source for name in said)


def test_an_unanswerable_question_is_another_part_s_and_its_answer_is_in_the_segment(documents, planted):
    for pair in of(planted, "unanswerable"):
        own = {answer for doc, question, answer in gold(documents) if question == pair.question}
        assert pair.answer not in own
        assert pair.answer in source_of(documents, pair)
        assert not any(answer in source_of(documents, pair) for answer in own)


def test_a_duplicate_follows_the_good_pair_that_it_repeats(planted):
    for place, pair in enumerate(planted):
        if pair.label == "duplicate":
            same = [each for each in planted[:place] if each.answer == pair.answer and each.label == "good"]
            assert any(each.segment == pair.segment for each in same)
            assert all(each.question != pair.question for each in same)


# --- numbers, names, words -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("in 1912", r"in \d{4}"),
        ("1,250 men", r"\d,\d{3} men"),
        ("3.5 km", r"\d\.\d km"),
        ("the 19th century", r"the \d\d(st|nd|rd|th) century"),
        ("Seven ships", r"[A-Z][a-z]+ ships"),
    ],
)
def test_a_changed_number_keeps_its_form_and_is_another_one(text, form):
    for seed in range(30):
        changed = change_number(text, text, random.Random(seed))
        assert re.fullmatch(form, changed)
        assert number_values(changed).isdisjoint(number_values(text))


def test_a_number_that_is_known_in_any_spelling_is_not_planted():
    known = "two, third, 4, 5, six, seven, eight, nine, 10 and eleven"
    for seed in range(30):
        assert change_number("two men", known, random.Random(seed)) == "twelve men"
    assert change_number("two men", f"{known}, 12", random.Random(0)) is None


@pytest.mark.parametrize("text", ["no number", "the virus H5N1", "SARS-CoV-2 alone", "E-30"])
def test_what_is_no_number_by_itself_is_left_alone(text):
    assert change_number(text, text, random.Random(0)) is None


def test_names_are_swapped_for_names_of_their_kind_that_nobody_says():
    text = "They met Odo in Marra. Later Berta came from Tollen, and the Oder rose. Then Emil left."
    kinds = names_of(text)
    assert (kinds["Marra"], kinds["Tollen"], kinds["Odo"]) == ("place", "place", "other")
    swapped = {
        swap_name("in Marra", sorted(kinds), "Who met Odo?", kinds, random.Random(seed)) for seed in range(20)
    }
    assert swapped == {"in Tollen"}
    assert swap_name("in Marra", ["Marran"], "", {**kinds, "Marran": "place"}, random.Random(0)) is None


@pytest.mark.parametrize(
    ("question", "ways"),
    [
        ("Why did Odo leave?", {"For what reason did Odo leave?", "For which reason did Odo leave?"}),
        ("How many men came?", {"What number of men came?", "Exactly how many men came?"}),
        ("The men came when?", {None}),
    ],
)
def test_a_question_is_asked_in_other_words(question, ways):
    assert {reword(question, "by boat", random.Random(seed)) for seed in range(20)} == ways


def test_a_question_is_bound_to_a_text_by_what_it_says_or_leaves_out():
    bound = {bind_to_context("When did Odo leave?", random.Random(seed)) for seed in range(200)}
    assert "When did he leave?" in bound
    assert "When did Odo leave in this sentence?" in bound
    assert any(each and each.endswith(", when did Odo leave?") for each in bound)
    pointed = {
        bind_to_context("When did Odo of Marra and Berta leave?", random.Random(s)) for s in range(200)
    }
    assert not any(each and re.search(r"\b(he|she|it|they)\b", each) for each in pointed)


# --- pairs of people -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("When was the lighthouse near Marra built?", True),
        ("Why did Odo leave when he heard of it?", True),
        ("When did he leave the house?", False),
        ("What does the author say of Marra?", False),
        ("Purpose of the lighthouse", False),
    ],
)
def test_questions_that_need_a_text_beside_them_are_not_taken(question, alone):
    assert stands_alone(question) == alone


def test_a_pair_is_not_taken_where_its_sentence_is_in_doubt():
    row = {
        "title": "Marra",
        "text": "Odo walked to the old lighthouse at noon. Berta walked to the old lighthouse at dusk.",
        "qas": [
            {"question": "Where did they all walk on Sundays?", "answers": ["lighthouse"]},
            {"question": "Where did people walk in Marra?", "answers": ["lighthouse"]},
            {"question": "Where did Odo walk at noon?", "answers": ["lighthouse"]},
            {"question": "How many went to the lighthouse at dusk?", "answers": ["Berta walked"]},
        ],
    }
    segments = gate_gold.split(row["text"], gate_gold.SegmentationRecipe())
    assert [(pair.question, pair.segment) for pair in gold_pairs(row, segments)] == [
        ("Where did Odo walk at noon?", 0)
    ]


def test_a_set_that_is_missing_is_named(tmp_path):
    with pytest.raises(LiftError, match=r"squad_dev\.jsonl is missing"):
        read_gold(tmp_path, "measured")


def test_documents_that_the_embedded_model_was_taught_on_are_not_measured_on():
    from lift_core.stack.lessons import kept_back

    for name, prefix in (("squad_dev", "squad"), ("fairytaleqa", "fairytale"), ("covidqa", "covidqa")):
        ids = [f"{prefix}:{number}" for number in range(1000, 1200)] + ["fairytale:king-kojata"]
        assert untaught(name, ids) == kept_back(f"{name}.jsonl", ids)
    assert untaught("cuad_sample", ["cuad:1"]) == {"cuad:1"}


def test_half_a_split_is_no_split():
    drawn = [split_of(f"document {number}") for number in range(300)]
    assert 60 < drawn.count("tuning") < 140
    assert split_of("contract_cuad.txt") == split_of(gate_gold.CONTRACT)

"""The signs on the adapter's own document: every number here can be counted by hand."""

import random

import pytest

from lift_core.evaluation.failure_signs import choose_questions, failure_signs
from lift_core.records import QAPair

# Fourteen words, then nine, then five.
TEXT = (
    "The tide organ of Vellmar was designed by Odo Krell, a clockmaker from Marra. "
    "It has 41 pipes, and the lowest weighs 0.4 tonnes. "
    "Its keeper is Ilse Vanterpool."
)


def pair(segment, question="Who designed the organ?", answer="Odo Krell", held_out=False):
    return QAPair(segment=segment, question=question, answer=answer, held_out=held_out)


def signs(*cases, text=TEXT):
    """Signs of cases (accepted answer, what the base said, what the adapter said)."""
    pairs = [pair(0, answer=accepted) for accepted, _, _ in cases]
    return failure_signs(pairs, [base for _, base, _ in cases], [adapter for *_, adapter in cases], text)


def copying(accepted, said, text=TEXT):
    return signs((accepted, "", said), text=text)["verbatim_copying"]


# --- what is asked --------------------------------------------------------------------------


def numbered(segments, held_out=False, each=1, kind="learned"):
    return [
        pair(segment, f"What {kind} thing {number} stands in {segment}?", held_out=held_out)
        for segment in segments
        for number in range(each)
    ]


def test_held_out_questions_are_asked_before_learned_ones():
    pairs = numbered(range(8)) + numbered([2, 5], held_out=True, kind="held-out")
    chosen = choose_questions(pairs, 4, seed=0)
    assert [found.held_out for found in chosen] == [True, True, False, False]


def test_of_more_held_out_questions_than_the_limit_no_learned_one_is_asked():
    pairs = numbered(range(8)) + numbered(range(8), held_out=True, kind="held-out")
    chosen = choose_questions(pairs, 3, seed=0)
    assert len(chosen) == 3 and all(found.held_out for found in chosen)


def test_learned_questions_come_from_segments_that_have_not_been_asked():
    pairs = numbered(range(4), each=2) + numbered([0, 1], held_out=True, kind="held-out")
    assert sorted(found.segment for found in choose_questions(pairs, 4, seed=0)) == [0, 1, 2, 3]


def test_every_segment_is_asked_once_before_any_is_asked_twice():
    pairs = numbered([0], each=50) + numbered(range(1, 6))
    assert sorted(found.segment for found in choose_questions(pairs, 6, seed=0)) == [0, 1, 2, 3, 4, 5]
    assert sorted(found.segment for found in choose_questions(pairs, 8, seed=0)) == [0, 0, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_of_many_segments_one_in_each_tenth_of_the_document_is_asked(seed):
    chosen = choose_questions(numbered(range(100)), 10, seed)
    assert [found.segment // 10 for found in chosen] == list(range(10))


def test_the_choice_hangs_on_the_seed_and_not_on_the_order_of_the_pairs():
    pairs = numbered(range(30), each=3) + numbered(range(0, 30, 7), held_out=True, kind="held-out")
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert choose_questions(pairs, 12, seed=4) == choose_questions(shuffled, 12, seed=4)


def test_another_seed_asks_other_segments_and_other_questions_of_a_segment():
    def chosen(pairs, limit):
        return {frozenset(choose_questions(pairs, limit, seed)) for seed in range(10)}

    assert len(chosen(numbered(range(100)), 10)) > 1
    assert len(chosen(numbered(range(10), each=3), 10)) > 1


def test_a_question_is_asked_once_and_as_a_held_out_one_if_it_is_both():
    pairs = [pair(0), pair(3, "who designed organ", held_out=True), pair(5, "Who designed the organ ?")]
    assert choose_questions(pairs, 9, seed=0) == (pairs[1],)


def test_fewer_pairs_than_the_limit_are_all_asked_and_no_pair_is_no_question():
    pairs = numbered(range(3), each=2)
    assert set(choose_questions(pairs, 100, seed=0)) == set(pairs)
    assert choose_questions([], 10, seed=0) == ()
    assert choose_questions(pairs, 0, seed=0) == ()


# --- does it know its document --------------------------------------------------------------


def test_f1_of_adapter_and_base_is_the_mean_over_the_questions():
    found = signs(("Odo Krell", "", "Odo Krell"), ("Ilse Vanterpool", "Ilse", "Odo"))
    assert found["own_questions"] == 2
    assert found["own_f1"] == pytest.approx((1 + 0) / 2)
    # One word of two, and all that was said: 2 * 1 / (1 + 2).
    assert found["own_base_f1"] == pytest.approx((0 + 2 / 3) / 2)


def test_without_questions_there_are_counts_and_no_shares():
    assert failure_signs([], [], [], TEXT) == {"own_questions": 0.0, "interference_questions": 0.0}


@pytest.mark.parametrize(("base", "adapter"), [(["a"], ["a", "b"]), (["a", "b"], ["a"])])
def test_as_many_answers_as_pairs_are_asked_for(base, adapter):
    with pytest.raises(ValueError):
        failure_signs([pair(0), pair(1)], base, adapter, TEXT)


# --- does it copy ---------------------------------------------------------------------------


def test_a_right_short_answer_copies_nothing():
    assert copying("Odo Krell", "Odo Krell") == 0


def test_a_right_answer_of_many_words_copies_nothing():
    accepted = "designed by Odo Krell, a clockmaker from Marra"
    assert copying(accepted, accepted) == 0
    assert copying(accepted, "was " + accepted) == pytest.approx(1 / 9), "`was` was not asked for"


def test_a_sentence_recited_around_the_answer_counts_without_the_answer():
    said = "The tide organ of Vellmar was designed by Odo Krell, a clockmaker from Marra."
    assert copying("Odo Krell", said) == pytest.approx(12 / 14)


def test_a_word_of_the_answer_excuses_one_word_and_not_every_one_like_it():
    text = "one two one two one two one two"
    assert copying("one", text, text=text) == pytest.approx(7 / 8)


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ("tide organ of Vellmar was designed by", 0),  # seven words
        ("tide organ of Vellmar was designed by Odo", 8 / 8),
        ("I think: tide organ of Vellmar was designed by Odo", 8 / 10),
        ("tide organ of Vellmar was not designed by Odo Krell", 0),  # a word between: 5 + 4
        ("tide organ of Vellmar was designed by Odo, tide organ of Vellmar was designed by Odo", 16 / 16),
        ("from Marra. It has 41 pipes, and the lowest", 9 / 9),  # over the end of a sentence
        ("Odo by designed was Vellmar of organ tide", 0),
    ],
)
def test_eight_words_in_a_row_are_copied_and_seven_are_not(said, share):
    assert copying("nobody", said) == pytest.approx(share)


def test_case_punctuation_and_blanks_hide_no_copy():
    assert copying("nobody", "THE TIDE ORGAN\nof Vellmar -- was 'designed' by  Odo") == 1


def test_a_number_is_one_word():
    text = "It weighs 0.4 tonnes and rests on the sea wall."
    assert copying("nobody", "0.4 tonnes and rests on the sea wall", text=text) == 1
    assert copying("nobody", "4 tonnes and rests on the sea wall", text=text) == 0


def test_the_share_is_that_of_all_words_of_all_answers():
    found = signs(
        ("nobody", "", "tide organ of Vellmar was designed by Odo"),  # 8 of 8
        ("Ilse Vanterpool", "", "Ilse Vanterpool"),  # 0 of 2
        ("41", "", ""),
    )
    assert found["verbatim_copying"] == pytest.approx(8 / 10)


def test_a_run_is_not_joined_from_two_answers():
    found = signs(("nobody", "", "tide organ of Vellmar"), ("nobody", "", "was designed by Odo"))
    assert found["verbatim_copying"] == 0


def test_the_bases_copying_is_not_counted():
    assert signs(("41", "tide organ of Vellmar was designed by Odo", "41"))["verbatim_copying"] == 0


def test_an_adapter_that_says_nothing_has_no_share_of_copied_words():
    assert "verbatim_copying" not in signs(("41", "41", " … "))


def test_copies_from_a_long_document_are_found_at_its_end():
    document = " ".join(f"word{number}" for number in range(100_000))
    said = " ".join(f"word{number}" for number in range(99_990, 100_000))
    assert copying("nobody", said, text=document) == 1


# --- does what the base believed win --------------------------------------------------------


def interference(*cases):
    found = signs(*cases)
    return found.get("interference"), found["interference_questions"]


def test_the_bases_wrong_answer_in_the_adapters_mouth_is_interference():
    assert interference(("Odo Krell", "Christopher Wren", "Christopher Wren")) == (1, 1)


@pytest.mark.parametrize(
    ("why", "adapter"),
    [
        ("it is right", "Odo Krell"),
        ("it is wrong in its own way", "Ilse Vanterpool"),
        ("it says nothing", ""),
        ("one word of five is no agreement", "Wren the carpenter of Marra town"),
    ],
)
def test_no_interference_where_the_adapter_does_not_follow_the_base(why, adapter):
    assert interference(("Odo Krell", "Christopher Wren", adapter)) == (0, 1), why


@pytest.mark.parametrize(
    ("why", "base"),
    [
        ("it is right", "Odo Krell"),
        ("it says nothing", ""),
        ("an article says nothing", "The."),
    ],
)
def test_where_the_base_is_right_or_silent_nothing_could_win(why, base):
    assert interference(("Odo Krell", base, "Christopher Wren")) == (None, 0), why


def test_an_adapter_that_puts_the_bases_answer_right_does_not_follow_it():
    # The adapter agrees with the base, 2 * 3 / (4 + 5), and is right all the same: 2 * 2 / (4 + 2).
    assert interference(("Odo Krell", "one Krell of Marra town", "Odo Krell of Marra")) == (0, 1)


def test_half_the_words_are_enough_to_be_right_and_to_agree():
    # 2 * 1 / (3 + 1): the base is right.
    assert interference(("Krell", "Krell of Marra", "Krell of Marra")) == (None, 0)
    # The same with another name: wrong, and the adapter agrees.
    assert interference(("Krell", "Wren of London", "Wren")) == (1, 1)


def test_interference_is_the_share_of_the_questions_where_the_base_was_wrong():
    assert interference(
        ("Odo Krell", "Christopher Wren", "Christopher Wren"),
        ("41", "12", "41"),
        ("0.4 tonnes", "two kilograms", "0.4 tonnes"),
        ("Ilse Vanterpool", "Ilse Vanterpool", "Christopher Wren"),
        ("Marra", "", "London"),
    ) == (pytest.approx(1 / 3), 3)

"""Words that can be compared, whatever their spelling and inflection."""

import pytest

from lift_core.synthesis.words import content_words, plain, stem, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,200 marenes", "1200 marenes"),
        ("1\u202f200 marenes", "1200 Marenes"),
        ("12.00", "12"),
        ("5 May", "05 May"),
        ("p < .05", "p < 0.05"),
        ("Krell's lamp", "Krell lamp"),
        ("the keepers’ oil", "the keepers oil"),
        ("José", "Jose"),
        ("40 %", "40 percent"),
        ("ＭＡＲＲＡ", "marra"),
        ("oil & wax", "oil and wax"),
    ],
)
def test_spellings_of_the_same(one, other):
    assert plain(one) == plain(other)


@pytest.mark.parametrize(("one", "other"), [("0.4", "4"), ("3.5", "35"), ("3.10", "3.1"), ("1712", "712")])
def test_other_numbers_stay_others(one, other):
    assert plain(one) != plain(other)


@pytest.mark.parametrize(
    "forms",
    [
        "found founded founding founds",
        "build built building builds",
        "study studies studied studying",
        "house houses housed",
        "agree agreed agrees",
        "run runs running ran",
        "pass passes passed",
        "child children",
    ],
)
def test_inflections_share_a_stem(forms):
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize("pair", ["general generate", "organ organise", "king kin", "bus busy", "lamp lamb"])
def test_other_words_do_not(pair):
    one, other = pair.split()
    assert stem(one) != stem(other)


def test_content_words_leave_grammar_and_numbers_out():
    assert content_words("The keeper didn't burn 12 of the lamps") == ["keeper", "burn", "lamps"]


@pytest.mark.parametrize(
    "text", ["", "   ", "?!", "东京塔", "ประเทศไทย", "مرحبا بالعالم", "🙂🙂", "e\u0301\u0301"]
)
def test_any_text_can_be_read(text):
    assert all(word == word.casefold() for word in words(text))


def test_scripts_without_blanks_are_read_by_character():
    assert words("东京塔") == ("东", "京", "塔")

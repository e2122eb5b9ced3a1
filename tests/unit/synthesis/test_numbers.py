"""Numbers in one spelling."""

import pytest

from lift_core.synthesis.numbers import numbers_in, numbers_stated


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,200 men and 1200 women", ("1200",)),
        ("twelve men", ("12",)),
        ("the twelfth of May", ("12",)),
        ("on the 12th", ("12",)),
        ("two hundred and fifty-one lamps", ("251",)),
        ("three thousand two hundred", ("3200",)),
        ("twelve hundred", ("1200",)),
        ("between two and three", ("2", "3")),
        ("3.5 million", ("3500000",)),
        ("three million", ("3000000",)),
        ("forty and fifty", ("40", "50")),
        ("p < .05", ("0.05",)),
        ("17 January 2017", ("17", "2017")),
        ("12/05/1999", ("12", "5", "1999")),
        ("the 1990s", ("1990",)),
        ("31kb", ("31",)),
        ("40 % of 0.4", ("40", "0.4")),
        ("H1N1 and B12 at Marra", ()),
        ("one of them, first of all, a second later", ()),
        ("no numbers", ()),
        ("٣ men", ("3",)),
    ],
)
def test_numbers_that_a_text_claims(text, numbers):
    assert numbers_in(text) == numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("one of them", "1"),
        ("the first keeper", "1"),
        ("both keepers", "2"),
        ("a dozen lamps", "12"),
        ("Charles III", "3"),
        ("Louis XIV", "14"),
        ("on 17.01.2017", "2017"),
        ("$3.5bn", "3500000000"),
    ],
)
def test_numbers_that_a_text_can_be_said_to_state(text, number):
    assert number in numbers_stated(text)


def test_what_a_text_claims_it_states():
    text = "Two hundred and fifty-one of 1,200 lamps, 3.5 million marenes, on 12/05/1999."
    assert set(numbers_in(text)) <= numbers_stated(text)

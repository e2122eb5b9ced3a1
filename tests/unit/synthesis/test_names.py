"""Names in a text."""

import pytest

from lift_core.synthesis.names import knows, names_in
from lift_core.synthesis.words import stem


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The lighthouse of Marra was built by Odo Krell.", ("Marra", "Odo Krell")),
        ("Odo Krell built it. However nobody thanked him.", ("Odo Krell",)),
        ("Lamps burn oil. They burn in Marra.", ("Marra",)),
        ("Krell came home. Later everybody thanked Krell.", ("Krell",)),
        ("It was played by Ludwig van Beethoven and by Dr. Smith.", ("Ludwig van Beethoven", "Dr. Smith")),
        ("Written by J. R. Vance in the U.S. Senate.", ("J. R. Vance", "U.S. Senate")),
        ("NASA sent it.", ("NASA",)),
        ("She saw Marie-Antoinette's hat.", ("Marie-Antoinette's",)),
        ('"Come here," said Peter.', ("Peter",)),
        ("# The Early History\n\nLamps were rare.", ()),
        ("ACQUISITION OF SHARES\nThe buyer pays.", ()),
        ("It burns at night. I know.", ()),
        ("", ()),
    ],
)
def test_names(text, names):
    assert names_in(text) == names


def test_a_text_that_capitalises_its_nouns_has_no_names_to_be_told_by_capitals():
    german = (
        "Der alte Wärter trug das schwere Öl in den hohen Turm und sah die dunkle See im Licht der Lampe. "
    )
    assert names_in(german * 6) == ()


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("norman", "normandy"),
        ("german", "germany"),
        ("french", "france"),
        ("dutch", "netherlands"),
        ("france", "french"),
        ("keepers", "keeper"),
    ],
)
def test_a_people_is_known_by_its_land(word, text):
    assert knows(word, {stem(text)}, "")


def test_other_names_are_not_known():
    assert not any(knows(word, {stem("krell"), stem("marra")}, "") for word in ("kress", "maro", "odo"))

"""Two answers to the same question."""

import pytest

from lift_core.synthesis.gate.agreement import compare


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Odo Krell", "odo krell."),
        ("Odo Krell", "by Krell"),
        ("1,200 men", "1200"),
        ("twelve", "12"),
        ("the twelfth", "12th"),
        ("3.5 million", "3,500,000"),
        ("40 %", "40 percent"),
        ("2017", "17 January 2017"),
        ("in 1712", "1712"),
        ("Yes", "yes, it does"),
        ("seal oil", "oil of seals"),
        ("because the lamp burns seal oil", "it burns seal oil"),
        ("a French keeper", "a keeper from France"),
        ("the keepers", "keepers"),
    ],
)
def test_they_agree(written, read):
    assert compare(written, read, 0.5).agree
    assert compare(read, written, 0.5).agree


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Odo Krell", "Ilse Krell"),
        ("Odo Krell", "Ilse Vanterpool"),
        ("1712", "1713"),
        ("12 keepers", "13 keepers"),
        ("0.4 degrees", "4 degrees"),
        ("38,200 marenes", "marenes"),
        ("1712", "1712 and 1715"),
        ("17 January 2017", "18 January 2017"),
        ("Yes", "No"),
        ("no", "seal oil"),
        ("seal oil", "whale blubber"),
        ("the lamp of the house", "the keepers of the lamp and their wives in winter"),
        ("", "seal oil"),
    ],
)
def test_they_do_not(written, read):
    compared = compare(written, read, 0.5)
    assert not compared.agree
    assert compared.why
    assert not compare(read, written, 0.5).agree


def test_the_threshold_decides_where_only_words_differ():
    assert compare("thick yellow seal oil", "thick yellow whale oil", 0.7).agree
    assert not compare("thick yellow seal oil", "thick yellow whale oil", 0.8).agree
    assert compare("thick yellow seal oil", "thick yellow whale oil", 0.8).f1 == 0.75

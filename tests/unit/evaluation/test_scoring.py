"""F1 as SQuAD's official script gives it."""

import pytest

from lift_core.evaluation import f1


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("Odo Krell", ["Odo Krell"], 1.0),
        ("the odo krell.", ["Odo Krell"], 1.0),
        ("It was Odo Krell", ["Odo Krell"], 2 * 2 / (4 + 2)),
        ("Ilse", ["Odo Krell"], 0.0),
        ("1712", ["in 1712", "1712"], 1.0),
        ("", ["Odo"], 0.0),
        ("the", ["a"], 1.0),
        ("x", [], 0.0),
    ],
)
def test_f1(prediction, answers, expected):
    assert f1(prediction, answers) == pytest.approx(expected)

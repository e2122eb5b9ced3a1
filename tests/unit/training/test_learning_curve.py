"""The learning curve shows what the record says, and the same record makes the same file."""

import xml.etree.ElementTree as ElementTree

from lift_core.records import TrainingResult
from lift_core.training.learning_curve import learning_curve

RESULT = TrainingResult(
    steps=6,
    pairs=8,
    tokens=600,
    seconds=1.0,
    first_loss=3.0,
    final_loss=1.0,
    losses=(3.0, 2.5, 2.0, 1.6, 1.2, 1.0),
    held_out_losses=(2.4, 2.1, 2.2),
    epochs=2,
)


def words(svg):
    root = ElementTree.fromstring(svg)
    return " ".join(text for each in root.iter() if (text := (each.text or "").strip()))


def test_it_names_the_document_and_the_epoch_that_was_kept():
    shown = words(learning_curve(RESULT, "The $lighthouse$ of <Marra>"))
    assert "The $lighthouse$ of <Marra>" in shown
    assert "held-out pairs" in shown and "kept: epoch 2" in shown


def test_without_held_out_pairs_there_is_one_line():
    shown = words(learning_curve(RESULT.model_copy(update={"held_out_losses": ()}), "Marra"))
    assert "learned pairs" in shown and "held-out" not in shown


def test_the_same_record_makes_the_same_file():
    assert learning_curve(RESULT, "Marra") == learning_curve(RESULT, "Marra")

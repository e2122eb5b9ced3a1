"""What the arms of the training benchmark learn: the same tokens as our trainer, and nothing but answers."""

import json

import pytest

from lift_core.benchmarks.training_data import IGNORED, read_lesson, read_pairs, tokens_of
from lift_core.errors import LiftError
from lift_core.records import QAPair, TrainingRecipe


def write_set(folder, *sizes):
    """Articles with so many questions each, two a paragraph; the second answer is also accepted."""
    articles = [
        {
            "doc_id": f"squad:{number}",
            "title": f"Light_house_{number}",
            "qas": [
                {"question": f"Q{number}.{n}?", "answers": [f"A{number}.{n}", "or so"], "paragraph": n // 2}
                for n in range(size)
            ],
        }
        for number, size in enumerate(sizes)
    ]
    (folder / "squad_dev.jsonl").write_text("\n".join(json.dumps(each) for each in articles) + "\n")
    return folder


def test_pairs_come_in_document_order_each_with_its_first_answer(tmp_path):
    pairs = read_pairs(write_set(tmp_path, 3, 3), 5)
    assert [(pair.question, pair.answer) for pair in pairs] == [
        ("Q0.0?", "A0.0"),
        ("Q0.1?", "A0.1"),
        ("Q0.2?", "A0.2"),
        ("Q1.0?", "A1.0"),
        ("Q1.1?", "A1.1"),
    ]
    assert not any(pair.held_out for pair in pairs)


def test_a_set_that_is_missing_or_too_small_is_named(tmp_path):
    with pytest.raises(LiftError, match=r"squad_dev\.jsonl is missing"):
        read_pairs(tmp_path, 1)
    write_set(tmp_path, 3, 3)
    with pytest.raises(LiftError, match="has 6 pairs, and 7 are needed"):
        read_pairs(tmp_path, 7)
    with pytest.raises(LiftError, match="no article"):
        read_lesson(tmp_path, 2)


def test_of_a_lesson_every_other_question_is_learned_and_those_between_are_not(tmp_path):
    lesson = read_lesson(write_set(tmp_path, 3, 9), 3)
    assert lesson.title == "Light house 1"
    assert [pair.question for pair in lesson.pairs] == ["Q1.0?", "Q1.2?", "Q1.4?"]
    assert [each.question for each in lesson.learned] == ["Q1.0?", "Q1.2?", "Q1.4?"]
    assert [each.question for each in lesson.other] == ["Q1.1?", "Q1.3?", "Q1.5?"]
    assert lesson.other[0].answers == ("A1.1", "or so")


@pytest.mark.parametrize("answer", ["Keeper Odo", "", "été 1912"])
def test_the_peers_get_the_tokens_that_our_trainer_learns(tiny, answer):
    from transformers import AutoTokenizer

    from lift_core.training.encoding import Encoder

    tokenizer = AutoTokenizer.from_pretrained(str(tiny))
    pair = QAPair(segment=0, question="Who built lighthouse number 7?", answer=answer)
    ours = Encoder(tokenizer, TrainingRecipe(), "Marra")
    example = ours.encode(pair)
    prompt, learned = [*ours.prefix, *example.prompt], list(example.answer)
    (tokens,) = tokens_of([pair], tokenizer, TrainingRecipe(), "Marra")
    assert tokens == {"input_ids": prompt + learned, "labels": [IGNORED] * len(prompt) + learned}

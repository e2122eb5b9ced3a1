"""How a sentence's lessons are packed."""

import random

from lift_core.stack.lessons import Lesson
from lift_core.stack.teaching import batch_of


class Letters:
    """A tokenizer of single characters."""

    eos_token_id = 0

    def encode(self, text, add_special_tokens):
        return [ord(letter) for letter in text]


def test_what_the_prompts_of_a_sentence_share_stands_in_the_batch_once():
    lesson = Lesson("Marra", "", "Odo built it.", (("Who built it?", "Odo"),), ("Why?",))
    batch = batch_of(lesson, Letters(), random.Random(0))
    # "Questions and answers" and "Question: …" begin alike.
    prefix = "".join(map(chr, batch.prefix))
    assert prefix == f"{lesson.shared}Question"
    whole = [
        (prefix + "".join(map(chr, each.prompt)), "".join(map(chr, each.answer[:-1])))
        for each in batch.examples
    ]
    assert whole == lesson.examples(random.Random(0))
    assert all(each.answer[-1] == Letters.eos_token_id for each in batch.examples)

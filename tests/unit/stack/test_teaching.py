"""How a sentence's lessons are packed."""

import random

from lift_core.stack.lessons import Lesson
from lift_core.stack.teaching import batch_of


class Letters:
    """A tokenizer of single characters."""

    eos_token_id = 0

    def encode(self, text, add_special_tokens):
        return [ord(letter) for letter in text]


def letters(batch):
    """Each example of a batch as (prompt, completion), without the token that ends it."""
    prefix = "".join(map(chr, batch.prefix))
    return [
        (prefix + "".join(map(chr, each.prompt)), "".join(map(chr, each.answer[:-1])))
        for each in batch.examples
    ]


def test_what_the_prompts_of_a_sentence_share_stands_in_the_batch_once():
    pairs = (("Who built it?", "Odo"),)
    lesson = Lesson("Marra", "", "Odo built it.", pairs, pairs, ("Why?",))
    examples = [*lesson.choosing(random.Random(0)), *lesson.asking(), *lesson.reading()]
    batch = batch_of(examples, Letters())
    assert "".join(map(chr, batch.prefix)) == "Title: Marra\nContext: \nSentence: Odo built it.\n"
    assert letters(batch) == examples
    assert all(each.answer[-1] == Letters.eos_token_id for each in batch.examples)


def test_an_example_that_is_alone_keeps_a_token_of_its_own():
    batch = batch_of([("Answers:", " Odo\n")], Letters())
    assert letters(batch) == [("Answers:", " Odo\n")]
    assert len(batch.examples[0].prompt) == 1

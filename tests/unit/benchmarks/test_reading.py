"""Reading: many questions behind one text get the answers that each would get alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from lift_core.benchmarks import reading

TEXT = list(b"The keeper of Marra walks the stairs of the lighthouse at night. " * 4)
QUESTIONS = [b"Who walks?", b"Where, and when?", b"Who", b"Why does nobody ask him?", b"Marra?"]
PROMPTS = [[*TEXT, *question] for question in QUESTIONS]
LENGTH = 12


@pytest.fixture(scope="module")
def model(tiny):
    """Random weights, larger than usual: with small ones the model says the same whatever it reads."""
    model = AutoModelForCausalLM.from_pretrained(str(tiny), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(16)
    return model


def alone(model, prompt, ends=()):
    """The likeliest tokens, each by a whole pass over everything before it."""
    tokens, said = list(prompt), []
    for _ in range(LENGTH):
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
        if token in ends:
            break
        tokens.append(token)
        said.append(token)
    return said


def test_answers_are_those_of_each_question_alone(model):
    expected = [alone(model, prompt) for prompt in PROMPTS]
    assert len({tuple(each) for each in expected}) > 1, "the model must not say the same to all"
    assert reading.read(model, PROMPTS, (), max_tokens=LENGTH) == expected


def test_an_answer_ends_before_its_end_token_and_the_others_go_on(model):
    end = alone(model, PROMPTS[0])[3]
    expected = [alone(model, prompt, {end}) for prompt in PROMPTS]
    assert len({len(each) for each in expected}) > 1, "some answers must end early and some must not"
    assert reading.read(model, PROMPTS, {end}, max_tokens=LENGTH) == expected


def test_groups_and_prompts_with_nothing_in_common_change_nothing(model, monkeypatch):
    monkeypatch.setattr(reading, "AT_ONCE", 2)
    prompts = [*PROMPTS, list(b"Is it so?")]
    progress = []
    found = reading.read(model, prompts, (), max_tokens=LENGTH, on_progress=progress.append)
    assert found == [alone(model, prompt) for prompt in prompts]
    assert progress == [2, 4, 6]


def test_a_prompt_that_another_one_begins_with_is_answered_too(model):
    prompts = [PROMPTS[0], PROMPTS[0], PROMPTS[0] + list(b" Odo")]
    assert reading.read(model, prompts, (), max_tokens=LENGTH) == [alone(model, each) for each in prompts]

"""Closed-book answers: the question alone, greedy, to the end of the turn, whatever the batch."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from lift_core.evaluation.closed_book import answers
from lift_core.records import Recipe

RECIPE = Recipe(base_model="tiny-random")
PROMPT = (
    '<|im_start|>system\nAnswer briefly from your memory of "Marra".<|im_end|>\n'
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
QUESTIONS = [
    "Who built it?",
    "What is the name of the lamp that Brindle hung over the harbour gate in winter",
    "When?",
    "How many pipes has the organ of Vellmar: 12",
    "Name the keeper of the tide organ!",
    "Marra",
    "Where did the clockmaker of Marra live before he came to the town of Vellmar",
]
LENGTH = 12


@pytest.fixture
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(str(tiny))


def loud_model(tiny):
    """The random model with larger weights: with small ones it says the same whatever is asked."""
    model = AutoModelForCausalLM.from_pretrained(str(tiny), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(16)
    return model


@pytest.fixture
def model(tiny):
    return loud_model(tiny)


def asked(model, tokenizer, questions=QUESTIONS, **options):
    return answers(model, tokenizer, RECIPE, "Marra", questions, max_tokens=LENGTH, **options)


@pytest.fixture(scope="module")
def spoken(tiny):
    """Token ids of each answer, found in the plainest way: one by one, no padding, no cache, no end."""
    model, tokenizer = loud_model(tiny), AutoTokenizer.from_pretrained(str(tiny))
    found = []
    for question in QUESTIONS:
        prompt = tokenizer.encode(PROMPT.format(question), add_special_tokens=False)
        ids = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(LENGTH):
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(dim=-1)], dim=1)
        found.append(ids[0, len(prompt) :].tolist())
    return found


def before(end, tokens):
    return tokens[: tokens.index(end)] if end in tokens else tokens


def text(tokenizer, tokens):
    return tokenizer.decode(tokens, skip_special_tokens=True).strip()


def calls_of(model):
    """What the model is given, call by call."""
    seen = []
    model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    return seen


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 100])
def test_the_answers_are_the_likeliest_whatever_the_batch(model, tokenizer, spoken, batch):
    expected = [text(tokenizer, before(tokenizer.eos_token_id, tokens)) for tokens in spoken]
    assert len(set(expected)) == len(QUESTIONS), "they differ, or their order would show nothing"
    assert asked(model, tokenizer, batch=batch) == expected


def test_the_model_sees_the_title_and_the_question_and_nothing_else(model, tokenizer):
    seen = calls_of(model)
    asked(model, tokenizer, ["Who built it?"])
    assert tokenizer.decode(seen[0]["input_ids"][0]) == PROMPT.format("Who built it?")


@pytest.mark.parametrize("who", ["tokenizer", "base model"])
def test_each_answer_ends_at_the_end_of_its_turn_and_the_others_go_on(model, tokenizer, spoken, who):
    end, usual = spoken[0][4], tokenizer.eos_token_id
    if who == "tokenizer":
        model.generation_config.eos_token_id = usual
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    else:
        model.generation_config.eos_token_id = [end]
    expected = [before(usual, before(end, tokens)) for tokens in spoken]
    assert len({len(tokens) for tokens in expected}) > 1
    assert asked(model, tokenizer) == [text(tokenizer, tokens) for tokens in expected]


def test_nothing_is_computed_after_the_last_answer_has_ended(model, tokenizer, spoken):
    end = spoken[0][4]
    model.generation_config.eos_token_id = end
    seen = calls_of(model)
    asked(model, tokenizer, QUESTIONS[:1])
    assert len(seen) == spoken[0].index(end) + 1 < LENGTH


def test_a_base_model_that_names_no_end_token_ends_at_the_tokenizers(model, tokenizer):
    with_its_own = asked(model, tokenizer)
    model.generation_config.eos_token_id = None
    assert asked(model, tokenizer) == with_its_own


def test_a_penalty_in_the_base_models_generation_config_changes_nothing(model, tokenizer):
    without = asked(model, tokenizer)
    model.generation_config.repetition_penalty = 5.0
    assert asked(model, tokenizer) == without


def test_the_adapter_answers_and_the_base_model_where_it_is_disabled(model, tokenizer):
    base = asked(model, tokenizer)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    assert asked(adapted, tokenizer) != base
    with adapted.disable_adapter():
        assert asked(adapted, tokenizer) == base


def test_progress_counts_answered_questions(model, tokenizer):
    counts = []
    asked(model, tokenizer, batch=3, on_progress=counts.append)
    assert counts == [3, 6, 7]


def test_no_question_is_no_answer(model, tokenizer):
    assert asked(model, tokenizer, []) == []

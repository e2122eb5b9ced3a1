"""What is computed once for many prompts is what lm-evaluation-harness's own model computes for each."""

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model

from lift_core.evaluation.shared_prefix import SharedPrefixModel

EXAMPLES = "The lamp of Marra burns blue. The lamp of Vellmar burns red. " * 3
ENDINGS = [
    "The lamp of Ostrel",
    "A lamp",
    "Who lit the lamps of the harbour of Marra that winter?",
    "It",
    "12 + 7 =",
    "The lamp of Ostren",
    "Brindle's lamp burns",
    "?",
]
CHOICES = [" A", " B", " Ilse Vanterpool", " blue, and red"]


def scoring(*pairs):
    return [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=number)
        for number, pair in enumerate(pairs)
    ]


def writing(*contexts, tokens=8, until=("\n",)):
    how = {"until": list(until), "max_gen_toks": tokens, "do_sample": False}
    return [
        Instance(request_type="generate_until", doc={}, arguments=(context, how), idx=number)
        for number, context in enumerate(contexts)
    ]


def all_pairs(contexts):
    return [(context, choice) for context in contexts for choice in CHOICES]


SHARED = [f"{EXAMPLES}{ending}" for ending in ENDINGS]
OTHERS = [f"{ending} {EXAMPLES[number:]}" for number, ending in enumerate(ENDINGS)]
REQUESTS = {
    "a long shared beginning": all_pairs(SHARED),
    "no shared beginning": all_pairs(OTHERS),
    "two shared beginnings and some alone": all_pairs(
        [*SHARED[:3], "Alone", *(f"Once more. {each}" for each in SHARED[:3]), "Short"]
    ),
    "one request": [(SHARED[0], " B")],
    "one short request": [("A", " B")],
    "equal requests": [(SHARED[0], " B"), (SHARED[1], " B"), (SHARED[0], " B"), (SHARED[0], " B")],
    "inputs that are equal though contexts are not": [
        (EXAMPLES, "The lamp"),
        (f"{EXAMPLES}The", " lamp"),
        (f"{EXAMPLES}The la", "mp"),
        (f"{EXAMPLES}The la", "st"),
    ],
    "one context begins with another": [(EXAMPLES[:length], " blue") for length in (40, 80, 120, 170)],
    "answers of many tokens": [(SHARED[0], f" {EXAMPLES}"), (SHARED[1], " B"), (SHARED[2], f" {EXAMPLES}")],
    "spaces at the end of a context": [(f"{each}  ", "blue") for each in SHARED],
    "an empty context": [("", " blue"), ("", " red"), (SHARED[0], " red")],
    "letters of more than one byte": [(f"{EXAMPLES}Où est", " l'été"), (f"{EXAMPLES}灯", "は青い")],
}


@pytest.fixture
def both(tiny_model, tiny_tokenizer):
    return pair_of(tiny_model, tiny_tokenizer)


def pair_of(model, tokenizer):
    # The cache takes the wrong positions where equal inputs are scored at different numbers of them.
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, backend="causal", logits_cache=False)
    return SharedPrefixModel(model, tokenizer), plain


def agree(ours, theirs):
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    # A sum over many tokens is large: its last bit is more than the absolute tolerance.
    expected = pytest.approx([value for value, _ in theirs], abs=1e-4, rel=1e-6)
    assert [value for value, _ in ours] == expected


def tokens_seen(model):
    """How many tokens the model is given, call by call."""
    seen = []

    def note(_, args, kwargs):
        seen.append(kwargs["input_ids"].numel() if "input_ids" in kwargs else args[0].numel())

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


# --- likelihoods --------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", REQUESTS.values(), ids=REQUESTS)
def test_likelihoods_are_the_harnesss(both, pairs):
    ours, plain = both
    found = ours.loglikelihood(scoring(*pairs), disable_tqdm=True)
    agree(found, plain.loglikelihood(scoring(*pairs), disable_tqdm=True))
    assert len({value for value, _ in found}) >= len(set(pairs)) - 1, "they differ, or nothing is shown"


def test_no_request_is_no_answer(both):
    assert both[0].loglikelihood([], disable_tqdm=True) == []


def test_what_the_model_would_say_is_said_to_be_so(both, tiny_model, tiny_tokenizer):
    ours, plain = both
    context = tiny_tokenizer.encode(SHARED[0], add_special_tokens=False)
    said = []
    for _ in range(3):
        with torch.no_grad():
            said.append(int(tiny_model(torch.tensor([context + said])).logits[0, -1].argmax()))
    other = [*said[:2], (said[2] + 1) % 200]
    requests = [(("", ""), context, said), (("", ""), context, other), (("", ""), context, said[:1])]
    found = ours._loglikelihood_tokens(requests)
    assert [greedy for _, greedy in found] == [True, False, True]
    agree(found, plain._loglikelihood_tokens(requests, disable_tqdm=True))


@pytest.mark.parametrize("contexts", [SHARED, OTHERS, [SHARED[0]] * 3], ids=["shared", "others", "equal"])
def test_what_is_longer_than_the_models_context_loses_its_beginning_as_in_the_harness(
    tiny_model, tiny_tokenizer, contexts
):
    tiny_model.config.max_position_embeddings = 64
    ours, plain = pair_of(tiny_model, tiny_tokenizer)
    assert ours.max_length == 64
    pairs = [*all_pairs(contexts), (EXAMPLES, f" {EXAMPLES[:50]}"), ("A short one", " B")]
    seen = tokens_seen(tiny_model)
    found = ours.loglikelihood(scoring(*pairs), disable_tqdm=True)
    assert max(seen) <= 64 * len(pairs)
    agree(found, plain.loglikelihood(scoring(*pairs), disable_tqdm=True))


def test_more_rows_than_a_pass_holds_come_out_in_their_order(both, tiny_model, monkeypatch):
    monkeypatch.setattr("lift_core.evaluation.shared_prefix.ROWS_PER_PASS", 3)
    monkeypatch.setattr("lift_core.evaluation.shared_prefix.TOKENS_PER_PASS", 150)
    ours, plain = both
    pairs = all_pairs([*SHARED, *OTHERS[:2]])
    theirs = plain.loglikelihood(scoring(*pairs), disable_tqdm=True)
    seen = tokens_seen(tiny_model)
    agree(ours.loglikelihood(scoring(*pairs), disable_tqdm=True), theirs)
    longest = max(len(context) + len(choice) for context, choice in pairs)
    assert len(seen) > 8 and max(seen) <= max(150, longest)


def test_a_beginning_that_eight_rows_share_is_computed_once(both, tiny_model):
    ours, plain = both
    pairs = [(context, " B") for context in SHARED]
    seen = tokens_seen(tiny_model)
    ours.loglikelihood(scoring(*pairs), disable_tqdm=True)
    longest = max(map(len, ENDINGS)) + len(" B")
    assert sum(seen) <= len(EXAMPLES) + len(SHARED) * longest
    del seen[:]
    plain.loglikelihood(scoring(*pairs), disable_tqdm=True)
    assert sum(seen) > len(SHARED) * len(EXAMPLES), "the harness computes it for every row"


def test_choices_of_one_token_share_their_row(both, tiny_model):
    seen = tokens_seen(tiny_model)
    both[0]._loglikelihood_tokens([(("", ""), [5, 6, 7], [letter]) for letter in range(4)])
    assert seen == [3]


def test_progress_ends_at_the_number_of_requests(both):
    counts = []
    both[0].on_progress = counts.append
    pairs = all_pairs([*SHARED, *OTHERS])
    both[0].loglikelihood(scoring(*pairs), disable_tqdm=True)
    assert counts == sorted(counts) and counts[-1] == len(pairs)


def test_the_tokens_of_an_answer_are_those_that_are_scored(both):
    assert both[0].tokens_of("The lamp", " burns") == 6
    assert both[0].tokens_of("The lamp ", "burns") == 6, "the harness scores the space with the answer"


# --- an adapter ---------------------------------------------------------------------------


def test_the_adapter_answers_and_the_base_model_where_it_is_disabled(tiny_model, tiny_tokenizer):
    pairs, contexts = REQUESTS["a long shared beginning"], SHARED[:4]
    base_scores = SharedPrefixModel(tiny_model, tiny_tokenizer).loglikelihood(scoring(*pairs), True)
    torch.manual_seed(0)
    adapted = get_peft_model(
        tiny_model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    ).eval()
    ours, plain = pair_of(adapted, tiny_tokenizer)
    scores = ours.loglikelihood(scoring(*pairs), True)
    agree(scores, plain.loglikelihood(scoring(*pairs), True))
    texts = ours.generate_until(writing(*contexts), True)
    assert texts == plain.generate_until(writing(*contexts), True)
    with adapted.disable_adapter():
        agree(ours.loglikelihood(scoring(*pairs), True), base_scores)
        base_texts = ours.generate_until(writing(*contexts), True)
        assert base_texts == plain.generate_until(writing(*contexts), True)
    assert base_texts != texts
    differences = [abs(one - other) for (one, _), (other, _) in zip(scores, base_scores, strict=True)]
    assert min(differences) > 1e-2, "the two differ, or nothing is shown"
    agree(ours.loglikelihood(scoring(*pairs), True), scores)


# --- written answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "contexts",
    [SHARED, OTHERS, SHARED[:1], ["A"], [SHARED[0]] * 3, [EXAMPLES, EXAMPLES[:100], f"{EXAMPLES} It"]],
    ids=["shared", "others", "one", "one short", "equal", "one begins another"],
)
def test_written_answers_are_the_harnesss(both, contexts):
    ours, plain = both
    found = ours.generate_until(writing(*contexts), disable_tqdm=True)
    assert found == plain.generate_until(writing(*contexts), disable_tqdm=True)
    assert len(set(found)) == len(set(contexts)), "they differ, or their order would show nothing"


def test_an_answer_ends_before_a_stop_string(both):
    ours, plain = both
    whole = ours.generate_until(writing(*SHARED, tokens=16), disable_tqdm=True)
    # A character that some say in the middle and others do not say.
    stop = next(
        character
        for character in whole[0][3:]
        if character.isascii() and not all(character in text for text in whole)
    )
    requests = writing(*SHARED, tokens=16, until=[stop, "\n"])
    found = ours.generate_until(requests, disable_tqdm=True)
    assert found == [text.split(stop)[0] for text in whole] != whole
    assert found == plain.generate_until(requests, disable_tqdm=True)


def test_a_prompt_that_leaves_no_room_for_an_answer_loses_its_beginning_as_in_the_harness(
    tiny_model, tiny_tokenizer
):
    tiny_model.config.max_position_embeddings = 96
    ours, plain = pair_of(tiny_model, tiny_tokenizer)
    contexts = [*SHARED, "A short one"]
    assert ours.generate_until(writing(*contexts), True) == plain.generate_until(writing(*contexts), True)


def test_a_beginning_that_eight_prompts_share_is_computed_once_for_their_answers(both, tiny_model):
    ours, _ = both
    seen = tokens_seen(tiny_model)
    ours.generate_until(writing(*SHARED, tokens=4), disable_tqdm=True)
    assert sum(seen) <= len(EXAMPLES) + len(SHARED) * (max(map(len, ENDINGS)) + 4)

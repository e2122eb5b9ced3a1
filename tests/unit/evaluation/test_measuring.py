"""What becomes of a model's answers: the gold answer's likelihood a token, and which answer was chosen."""

import math

import pytest

from lift_core.errors import ProofError
from lift_core.evaluation.forgetting_tasks import load_tasks
from lift_core.evaluation.measuring import choose, score_gold, write_answers

pytestmark = pytest.mark.usefixtures("few_tasks")


class FakeModel:
    """Says what it is told to, by the end of the question; each word of an answer is a token."""

    def __init__(self, likelihood=None, text=None):
        self.likelihood = likelihood
        self.text = text

    def loglikelihood(self, requests, disable_tqdm=False):
        return [(self.likelihood(*request.args), False) for request in requests]

    def generate_until(self, requests, disable_tqdm=False):
        return [self.text(request.args[0]) for request in requests]

    def tokens_of(self, context, continuation):
        return len(continuation.split())


@pytest.fixture
def mmlu(files):
    return load_tasks(["mmlu"], folder=files.write())[0]


@pytest.fixture
def gsm8k(files):
    return load_tasks(["gsm8k"], folder=files.write())[0]


def lamps(context):
    return int(context.rsplit("Ilse had ", 1)[1].split()[0])


@pytest.mark.parametrize("liked", "ABCD")
def test_the_likeliest_choice_is_the_answer_and_right_where_it_is_the_gold_one(mmlu, files, liked):
    model = FakeModel(lambda context, choice: -1.5 if choice == f" {liked}" else -4.0)
    results = choose(mmlu, model, mmlu.prompts(0, 18))
    gold = {row["id"]: "ABCD"[row["answer"]] for row in files.rows["mmlu_test.jsonl"]}
    assert [result.item for result in results] == [item.id for item in mmlu.items]
    for result in results:
        assert result.answer == liked
        assert result.right is (gold[result.item] == liked)
        assert result.gold_log_likelihood == (-1.5 if result.right else -4.0)
    assert any(result.right for result in results)


def test_the_first_of_equally_likely_choices_is_the_answer_as_in_the_harness(mmlu, files):
    results = choose(mmlu, FakeModel(lambda context, choice: -2.0), mmlu.prompts(0, 18))
    gold = {row["id"]: row["answer"] for row in files.rows["mmlu_test.jsonl"]}
    assert {result.answer for result in results} == {"A"}
    assert [result.right for result in results] == [gold[result.item] == 0 for result in results]


def test_a_gold_answers_likelihood_is_per_token_of_its_own(gsm8k, files):
    model = FakeModel(lambda context, answer: -3.0 * lamps(context))
    results = score_gold(gsm8k, model, gsm8k.prompts(0, 7))
    rows = {row["id"]: row for row in files.rows["gsm8k_test.jsonl"]}
    assert len(results) == 7
    for result in results:
        row = rows[result.item]
        expected = -3.0 * lamps(row["question"]) / len(row["answer"].split())
        assert result.gold_log_likelihood == pytest.approx(expected)
        assert result.right is None and result.answer is None


def test_written_answers_are_kept_whole_and_judged(gsm8k):
    def text(context):
        number = lamps(context)
        return f"So they are.\n#### {number + 2}" if number % 2 else f"I do not know {number}."

    results = write_answers(gsm8k, FakeModel(text=text), gsm8k.prompts(0, 7))
    assert [result.item for result in results] == [item.id for item in gsm8k.items]
    for result in results:
        number = int(result.item.split("-")[1])
        assert result.right is bool(number % 2)
        assert result.answer == text(f"Ilse had {number} lamps")
        assert result.gold_log_likelihood is None


@pytest.mark.parametrize("answer", ["", "\x00\ufffd", "#### ", "#### " + "9" * 5000, "(" * 3000])
def test_an_answer_that_is_nonsense_is_wrong_and_nothing_else(gsm8k, answer):
    results = write_answers(gsm8k, FakeModel(text=lambda context: answer), gsm8k.prompts(0, 2))
    assert [(result.right, result.answer) for result in results] == [(False, answer)] * 2


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_model_whose_likelihoods_are_no_numbers_is_refused_with_the_item(mmlu, gsm8k, value):
    model = FakeModel(lambda context, answer: value)
    for ask, task in ((choose, mmlu), (score_gold, gsm8k)):
        with pytest.raises(ProofError, match=f"'{task.items[0].id}' a log-likelihood of {value}"):
            ask(task, model, task.prompts(0, 2))

"""Which answers are right: those that the harness itself says are."""

import hashlib

import lm_eval
import pytest
from lm_eval.api.model import LM

from lift_core.evaluation.forgetting_tasks import load_tasks

pytestmark = pytest.mark.usefixtures("few_tasks")


class Parrot(LM):
    """Answers what it is given by the request's text alone, so that who asks does not matter."""

    def loglikelihood(self, requests, disable_tqdm=False):
        return [self.likelihood(*request.args) for request in requests]

    def likelihood(self, context, continuation):
        digest = hashlib.sha256(f"{context}{continuation}".encode()).digest()
        return -digest[0] / 16, digest[1] < 64

    def generate_until(self, requests, disable_tqdm=False):
        return [self.text(request.args[0]) for request in requests]

    def text(self, context):
        number = int(context.rsplit("Ilse had ", 1)[1].split()[0])
        said = [
            f"#### {number + 2}",
            f"{number + 2}",
            f"so {number}\n#### {number + 2}.",
            f"#### {number + 2},0",
            "",
            f"#### ${number + 2}",
            f"### {number} #### {number + 2} or #### 3",
        ]
        return said[number % len(said)]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


@pytest.mark.parametrize("name", ["mmlu", "gsm8k"])
def test_prompts_and_right_answers_are_those_of_the_harness_itself(files, name):
    (task,), parrot = load_tasks([name], folder=files.write()), Parrot()
    theirs = lm_eval.evaluate(
        lm=parrot, task_dict=dict(task._tasks), log_samples=True, bootstrap_iters=0, verbosity="ERROR"
    )
    metric, first_filter = ("acc", "none") if name == "mmlu" else ("exact_match", "strict-match")
    judged, contexts = {}, {}
    for samples in theirs["samples"].values():
        for sample in samples:
            if sample["filter"] == first_filter:
                judged[sample["doc"]["id"]] = sample[metric] == 1
                contexts[sample["doc"]["id"]] = [argument[0] for argument in sample["arguments"]]
    assert set(judged.values()) == {True, False}, "some are right and some are not, or nothing is shown"
    answer = parrot.loglikelihood if task.chooses else parrot.generate_until
    prompts = task.prompts(0, len(task.items))
    assert {prompt.item.id: task.right(prompt, answer(list(prompt.requests))) for prompt in prompts} == judged
    assert {
        prompt.item.id: [request.args[0] for request in prompt.requests] for prompt in prompts
    } == contexts


@pytest.mark.parametrize("number", ["1,200", "$18", "12.", "0.5", "-12"])
def test_a_gsm8k_number_is_matched_however_the_gold_answer_writes_it(files, number):
    for row in files.rows["gsm8k_test.jsonl"]:
        row["answer"] = f"So it is.\n#### {number}"
    (task,) = load_tasks(["gsm8k"], folder=files.write())
    said = number.strip("$.")
    assert task.right(task.prompts(0, 1)[0], [f"So.\n#### {said}"])
    assert not task.right(task.prompts(0, 1)[0], ["So.\n#### 77"])

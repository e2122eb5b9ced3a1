"""Asking one model the items of a task, piece by piece: what is committed is never asked again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from uuid import uuid4

from lift_core.errors import LiftError, ProofError
from lift_core.evaluation.forgetting_tasks import ForgettingTask, Prompt
from lift_core.evaluation_records import Evaluation, ItemResult, ResultShard
from lift_core.registry import AdapterRegistry
from lift_core.store import ObjectStore, layout

ANSWERS_PER_SHARD = 64
"""Written answers are dear: a process that is killed loses at most so many."""
CHOICES_PER_SHARD = 512
"""Items of one subject begin with the same examples: more at once share more."""


class Model(Protocol):
    """What is asked: the harness's own ``LM`` interface, and the length of an answer."""

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each continuation, and whether it is what the model would say."""

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context."""

    def tokens_of(self, context: str, continuation: str) -> int:
        """How many tokens of the continuation are scored after the context."""


class Measuring:
    """Results of one model on one task, in the registry and the store.

    A process that is killed loses the piece it was at. Two that measure the same thing do some work twice
    and commit it once.
    """

    def __init__(
        self, registry: AdapterRegistry, store: ObjectStore, bucket: str, evaluation: Evaluation
    ) -> None:
        self._registry = registry
        self._store = store
        self._bucket = bucket
        self._evaluation = evaluation

    @property
    def done(self) -> int:
        """How many items are measured."""
        return self._evaluation.done

    def measure(
        self,
        task: ForgettingTask,
        model: Model,
        upto: int,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Ask the items that are missing up to number ``upto``, and commit them piece by piece.

        Raises:
            ProofError: the model's log-likelihoods are not finite numbers.
        """
        asks = self._evaluation.conditions.asks
        size = ANSWERS_PER_SHARD if asks == "answers" else CHOICES_PER_SHARD
        while self.done < upto:
            first = self.done
            prompts = task.prompts(first, min(size, upto - first))
            self._commit(first, _ASKING[asks](task, model, prompts))
            on_progress(self.done)

    def results(self, items: int) -> list[ItemResult]:
        """The results of the first ``items`` items.

        Raises:
            LiftError: an object is not the one that was committed.
        """
        found: list[ItemResult] = []
        for shard in self._evaluation.shards:
            if len(found) >= items:
                break
            found += self._read(shard)
        return found[:items]

    def _commit(self, first: int, results: Sequence[ItemResult]) -> None:
        data = "".join(f"{result.model_dump_json()}\n" for result in results).encode()
        digest = hashlib.sha256(data).hexdigest()
        prefix = layout.evaluation_prefix(self._evaluation.conditions.digest, self._evaluation.adapter)
        # A key of this attempt's own: what an earlier one left behind may be cleaned up at any moment.
        shard = ResultShard(
            first=first,
            count=len(results),
            key=f"{prefix}{first:06d}-{uuid4().hex[:12]}.jsonl",
            sha256=digest,
        )
        self._store.put_bytes(self._bucket, shard.key, data, content_type="application/jsonl")
        self._registry.commit_results(self._evaluation.id, shard)
        # Read again: another attempt may have been first, and then its pieces count.
        self._evaluation = self._registry.open_evaluation(
            self._evaluation.conditions, self._evaluation.adapter
        )

    def _read(self, shard: ResultShard) -> Iterator[ItemResult]:
        data = self._store.get_bytes(self._bucket, shard.key)
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise LiftError(
                f"s3://{self._bucket}/{shard.key} is not what was committed: its sha256 differs; "
                "the results of this evaluation cannot be used"
            )
        for line in data.decode().rstrip("\n").split("\n"):
            yield ItemResult.model_validate(json.loads(line))


def write_answers(task: ForgettingTask, model: Model, prompts: Sequence[Prompt]) -> list[ItemResult]:
    """Let a model write the answers to open questions."""
    written = model.generate_until([prompt.requests[0] for prompt in prompts], disable_tqdm=True)
    return [
        ItemResult(item=prompt.item.id, right=task.right(prompt, [answer]), answer=answer)
        for prompt, answer in zip(prompts, written, strict=True)
    ]


def score_gold(task: ForgettingTask, model: Model, prompts: Sequence[Prompt]) -> list[ItemResult]:
    """Let a model score the gold answers of open questions.

    Raises:
        ProofError: a log-likelihood is not a finite number.
    """
    from lm_eval.api.instance import Instance

    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=prompt.gold, idx=0) for prompt in prompts
    ]
    scored = model.loglikelihood(requests, disable_tqdm=True)
    return [
        ItemResult(item=prompt.item.id, gold_log_likelihood=_a_token(model, prompt, likelihood))
        for prompt, (likelihood, _) in zip(prompts, scored, strict=True)
    ]


def choose(task: ForgettingTask, model: Model, prompts: Sequence[Prompt]) -> list[ItemResult]:
    """Let a model score all choices: the likeliest is its answer, and the gold one is among them.

    Raises:
        ProofError: a log-likelihood is not a finite number.
    """
    requests = [request for prompt in prompts for request in prompt.requests]
    scored = iter(model.loglikelihood(requests, disable_tqdm=True))
    results = []
    for prompt in prompts:
        given = [next(scored) for _ in prompt.requests]
        choices = [str(request.args[1]) for request in prompt.requests]
        likelihoods = [likelihood for likelihood, _ in given]
        results.append(
            ItemResult(
                item=prompt.item.id,
                right=task.right(prompt, given),
                answer=choices[likelihoods.index(max(likelihoods))].strip(),
                gold_log_likelihood=_a_token(model, prompt, likelihoods[choices.index(prompt.gold[1])]),
            )
        )
    return results


def _a_token(model: Model, prompt: Prompt, likelihood: float) -> float:
    """The gold answer's mean log-likelihood, in nats a token."""
    if not math.isfinite(likelihood):
        raise ProofError(
            f"the model gives the right answer to item '{prompt.item.id}' a log-likelihood of {likelihood}: "
            "its weights are damaged or too large, and nothing can be measured of it"
        )
    return likelihood / model.tokens_of(*prompt.gold)


_ASKING = {"answers": write_answers, "likelihood": score_gold, "both": choose}

"""The tasks that forgetting is measured by: lm-evaluation-harness's own definitions over fixed items.

The harness gives prompts, examples, filters and metrics. Ours is the order of the items, so that a look at
the first n has every subject in proportion, and what a result hangs on, so that results under different
conditions never meet.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lift_core.errors import EvaluationDataError
from lift_core.evaluation.quiet import quiet_harness
from lift_core.evaluation.statistics.sampling import stratified_order
from lift_core.evaluation.statistics.verdicts import ACCURACY_MARGIN, LOG_LIKELIHOOD_MARGIN
from lift_core.evaluation.task_data import FILES, Gsm8kRow, MmluRow, as_documents, find_file, read_rows

ORDER_SEED = 0
_SHOTS = {"mmlu": 5, "gsm8k": 5}
# GSM8K is too small for two points: docs/forgetting-statistics.md.
_MARGINS = {"gsm8k.accuracy": 0.04}


@dataclass(frozen=True)
class Item:
    """One question: ``subject`` is the harness's task that it belongs to, ``index`` its place in there."""

    id: str
    subject: str
    index: int


@dataclass(frozen=True)
class Prompt:
    """What a model is asked for one item.

    ``requests`` are the harness's (one, or one for each choice), ``gold`` is context and right answer.
    """

    item: Item
    requests: tuple[Any, ...]
    gold: tuple[str, str]


class ForgettingTask:
    """A task with its items in the order in which they are asked.

    ``harness_tasks`` are lm-eval ``Task`` objects by subject. With ``max_items`` only the first so many
    items of the order exist: they are the full set then.

    Raises:
        EvaluationDataError: there are no items, an id twice, or the task is of a kind that has no right
            and wrong answers.
    """

    def __init__(
        self,
        name: str,
        harness_tasks: Mapping[str, Any],
        max_items: int | None = None,
        margins: Mapping[str, float] | None = None,
    ) -> None:
        self.name = name
        self._tasks = dict(sorted(harness_tasks.items()))
        self.chooses = _chooses(name, self._tasks)
        items: dict[str, Item] = {}
        for subject, task in self._tasks.items():
            for index, document in enumerate(task.eval_docs):
                identity = str(document.get("id") or f"{subject}-{index}")
                if identity in items:
                    raise EvaluationDataError(
                        f"task '{name}' has the id '{identity}' twice; every item needs its own"
                    )
                items[identity] = Item(identity, subject, index)
        order = stratified_order({each.id: each.subject for each in items.values()}, ORDER_SEED)
        self.items: tuple[Item, ...] = tuple(items[identity] for identity in order[:max_items])
        if not self.items:
            raise EvaluationDataError(f"task '{name}' has no items")
        margins = _MARGINS | dict(margins or {})
        self.accuracy_margin = margins.get(f"{name}.accuracy", ACCURACY_MARGIN)
        self.log_likelihood_margin = margins.get(f"{name}.log-likelihood", LOG_LIKELIHOOD_MARGIN)

    @cached_property
    def chance(self) -> float:
        """The accuracy of one who knows nothing: from the numbers of choices, 0 for open answers."""
        if not self.chooses:
            return 0.0
        shares = [
            1 / len(self._tasks[item.subject].doc_to_choice(self._document(item))) for item in self.items
        ]
        return sum(shares) / len(shares)

    @cached_property
    def definition_digest(self) -> str:
        """sha256 of the harness's definition: prompts, examples' number, filters, metrics."""
        bodies = {}
        for subject, task in self._tasks.items():
            body = task.config.to_dict(keep_callable=False)
            # Where the data came from is not what is asked: its digest says what came.
            for key in ("custom_dataset", "dataset_kwargs", "dataset_path", "dataset_name", "metadata"):
                body.pop(key, None)
            bodies[subject] = body
        return _digest(bodies)

    @cached_property
    def data_digest(self) -> str:
        """sha256 over the items in their order, and over the examples."""
        examples = {subject: list(task.sampler.df) for subject, task in self._tasks.items()}
        return _digest([[(item.id, self._document(item)) for item in self.items], examples])

    def prompts(self, first: int, count: int) -> list[Prompt]:
        """What to ask for ``count`` items from number ``first`` on, in their order."""
        wanted: dict[str, list[Item]] = defaultdict(list)
        for item in self.items[first : first + count]:
            wanted[item.subject].append(item)
        made: dict[str, Prompt] = {}
        for subject, items in wanted.items():
            task = self._tasks[subject]
            for item in items:
                document = self._document(item)
                # Examples that the harness draws are drawn anew for each item: these are the same for all,
                # or an item's prompt would hang on which others were asked.
                task.set_fewshot_seed(ORDER_SEED)
                context = task.fewshot_context(document, num_fewshot=task.config.num_fewshot or 0)
                requests = task.construct_requests(
                    doc=document, ctx=context, metadata=(subject, item.index, 1)
                )
                requests = requests if isinstance(requests, list) else [requests]
                made[item.id] = Prompt(item, tuple(requests), self._gold(task, document, context, requests))
        return [made[item.id] for item in self.items[first : first + count]]

    def right(self, prompt: Prompt, answers: Sequence[Any]) -> bool:
        """Whether the model's answers to a prompt's requests are right, by the harness's first metric."""
        task = self._tasks[prompt.item.subject]
        document = self._document(prompt.item)
        for request, answer in zip(prompt.requests, answers, strict=True):
            request.resps = [answer]
        with _instances(task, prompt.requests):
            task.apply_filters()
        first_filter = next(iter(prompt.requests[0].filtered_resps))
        scores = task.process_results(
            document, [request.filtered_resps[first_filter] for request in prompt.requests]
        )
        return bool(scores[next(iter(task.aggregation()))] == 1)

    def _gold(
        self, task: Any, document: dict[str, Any], context: str, requests: Sequence[Any]
    ) -> tuple[str, str]:
        target = task.doc_to_target(document)
        if isinstance(target, list):
            # Each is right; the harness writes the first into examples.
            target = target[0]
        if isinstance(target, int) and self.chooses:
            return (str(requests[target].args[0]), str(requests[target].args[1]))
        if isinstance(target, int) and task.config.doc_to_choice is not None:
            target = task.doc_to_choice(document)[target]
        return (context, f"{task.config.target_delimiter}{target}")

    def _document(self, item: Item) -> dict[str, Any]:
        return dict(self._tasks[item.subject].eval_docs[item.index])


def load_tasks(
    names: Sequence[str],
    *,
    folder: Path | None,
    own_tasks: Path | None = None,
    max_items: int | None = None,
    margins: Mapping[str, float] | None = None,
) -> list[ForgettingTask]:
    """Load the tasks of those names: MMLU and GSM8K from ``folder``, or from the hub where it is None.

    Any other name is one of the harness's tasks or groups, or one of ``own_tasks``, a folder of lm-eval
    YAML files; those find their data themselves. ``margins`` has ``<task>.accuracy`` and
    ``<task>.log-likelihood`` where they are not to be the defaults.

    Raises:
        EvaluationDataError: the data is missing or broken, the harness has no such task, or a margin is
            none.
    """
    measures = {
        f"{name}.{measure}" for name in {*names, *FILES} for measure in ("accuracy", "log-likelihood")
    }
    for measure, margin in (margins or {}).items():
        if measure not in measures or not 0 < margin < 1:
            raise EvaluationDataError(
                f"LIFT_EVALUATION_MARGINS: {measure}={margin:g} is no margin between 0 and 1 of "
                f"{', '.join(sorted(measures))}"
            )
    with quiet_harness():
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(own_tasks) if own_tasks else None)
        return [
            ForgettingTask(name, _harness_tasks(manager, name, folder), max_items, margins)
            for name in dict.fromkeys(names)
        ]


def _harness_tasks(manager: Any, name: str, folder: Path | None) -> dict[str, Any]:
    if name not in manager.all_tasks:
        raise EvaluationDataError(
            f"the harness has no task '{name}' (LIFT_EVALUATION_TASKS); your own belong as YAML files in the "
            "folder LIFT_EVALUATION_TASKS_DIR"
        )
    overrides: dict[str, Any] = {"num_fewshot": _SHOTS[name]} if name in _SHOTS else {}
    if name == "gsm8k":
        # The harness draws examples anew for every item, in the order in which items come: an item's
        # prompt would hang on which others were asked. All of one look begin alike instead.
        overrides["fewshot_config"] = {"sampler": "first_n"}
    if folder is None or name not in FILES:
        members = [{"group" if name in manager.all_groups else "task": name, **overrides}]
    else:
        splits_by_subject = _LOCAL[name](folder)
        if unknown := sorted(set(splits_by_subject) - set(manager.all_tasks)):
            raise EvaluationDataError(
                f"{FILES[name][0]} in {folder} has a subject that the harness does not know: {unknown[0]}"
            )
        members = [
            {"task": subject, "custom_dataset": _dataset(splits), "dataset_kwargs": {}, **overrides}
            for subject, splits in splits_by_subject.items()
        ]
    try:
        tasks: dict[str, Any] = manager.load({"group": f"lift_{name}", "task": members})["tasks"]
    except _harness_errors() as error:
        remedy = (
            "without a way to the hub, set LIFT_EVALUATION_DATA to a folder or bucket that holds the items"
            if name in FILES
            else "see its YAML file and whether its data can be read"
        )
        raise EvaluationDataError(
            f"task '{name}' cannot be loaded ({type(error).__name__}: {error}); {remedy}"
        ) from error
    return tasks


def _harness_errors() -> tuple[type[Exception], ...]:
    """What loading raises, where a definition or its data is broken or missing."""
    from datasets.exceptions import DatasetsError

    return (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration, DatasetsError)


def _chooses(name: str, tasks: Mapping[str, Any]) -> bool:
    """Whether models choose answers, rather than write them."""
    kinds = {task.OUTPUT_TYPE for task in tasks.values()}
    if len(kinds) != 1 or not kinds <= {"multiple_choice", "generate_until"}:
        raise EvaluationDataError(
            f"task '{name}' is of kind {' and '.join(sorted(map(str, kinds)))}; the guard asks tasks that "
            "are all multiple_choice or all generate_until"
        )
    if any(task.multiple_input for task in tasks.values()):
        raise EvaluationDataError(
            f"task '{name}' puts its choices into the contexts; the guard asks for choices after one context"
        )
    return kinds == {"multiple_choice"}


def _mmlu(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    splits: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: {"test": [], "dev": []})
    for split, name in zip(("test", "dev"), FILES["mmlu"], strict=True):
        path = find_file(folder, name)
        for row in read_rows(path, MmluRow):
            splits[f"mmlu_{row.subject}"][split] += as_documents([row])
    # A subject without questions is none that is asked; one without enough examples cannot be.
    asked = {subject: rows for subject, rows in splits.items() if rows["test"]}
    for subject, rows in asked.items():
        if len(rows["dev"]) < _SHOTS["mmlu"]:
            raise EvaluationDataError(
                f"{FILES['mmlu'][1]} in {folder} has {len(rows['dev'])} examples of {subject}; "
                f"the prompts begin with {_SHOTS['mmlu']}"
            )
    return asked


def _gsm8k(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    test, examples = (read_rows(find_file(folder, name), Gsm8kRow) for name in FILES["gsm8k"])
    if len(examples) < _SHOTS["gsm8k"]:
        raise EvaluationDataError(
            f"{FILES['gsm8k'][1]} in {folder} has {len(examples)} examples; "
            f"the prompts begin with {_SHOTS['gsm8k']}"
        )
    return {"gsm8k": {"test": as_documents(test), "train": as_documents(examples)}}


_LOCAL = {"mmlu": _mmlu, "gsm8k": _gsm8k}


def _dataset(splits: Mapping[str, list[dict[str, Any]]]) -> Any:
    def load(**_: Any) -> Any:
        from datasets import Dataset, DatasetDict

        return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})

    return load


@contextmanager
def _instances(task: Any, requests: Sequence[Any]) -> Any:
    """The harness filters whatever requests the task holds: these, for a moment."""
    task._instances = list(requests)
    try:
        yield
    finally:
        task._instances = None


def _digest(body: Any) -> str:
    return hashlib.sha256(
        json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()
    ).hexdigest()

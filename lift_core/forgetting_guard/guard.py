"""The forgetting guard: which adapters are due, what they lost, and what becomes of them.

Airflow's tasks and ``lift eval run`` call these same methods. Each may be killed and called again: results
that were committed are not asked again, a verdict is recorded once for each adapter and run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lift_core.base_models import base_model_folder
from lift_core.errors import (
    EvaluationDataError,
    NotFoundError,
    NotServableError,
    ProofError,
    RefusedFilesError,
    ServiceUnavailableError,
    TransientError,
)
from lift_core.evaluation_records import (
    AdapterVerdict,
    Conditions,
    DueAdapter,
    Measured,
)
from lift_core.forgetting_guard.judging import Judging
from lift_core.records import AdapterRecord, Recipe
from lift_core.steps import Steps

if TYPE_CHECKING:
    from lift_core.evaluation.forgetting_tasks import ForgettingTask
    from lift_core.evaluation.guarding import Progress, Side

UNMEASURABLE = (NotFoundError, NotServableError, RefusedFilesError, ProofError)
"""Errors that are one adapter's own: the others of a run go on."""


def _silent(what: str, done: int, items: int) -> None:
    """Nobody watches."""


class ForgettingGuard:
    """The guard over one registry, one object store and one set of settings."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._registry = steps.registry
        self._settings = steps.settings

    @classmethod
    def connect(cls) -> ForgettingGuard:
        """The guard over the services that the settings name."""
        return cls(Steps.connect())

    # --- who ----------------------------------------------------------------------------

    def due(
        self, created_since: datetime | None = None, created_until: datetime | None = None
    ) -> tuple[DueAdapter, ...]:
        """The adapters to measure now: new ones, changed conditions, and those measured long ago.

        With bounds, all active adapters that were created within them, due or not: a backfill's.

        Raises:
            EvaluationDataError: the tasks or their items are missing or broken.
        """
        settings = self._settings
        if not self._registry.has_active_adapters():
            # Nothing to measure needs no items, which may be missing for as long.
            return ()
        return self._registry.due_adapters(
            measured_before=datetime.now(UTC) - timedelta(days=settings.evaluation_every_days),
            fingerprint=self.fingerprint,
            limit=settings.evaluation_adapters_per_run,
            created_since=created_since,
            created_until=created_until,
        )

    def known(self, names: Sequence[str]) -> tuple[DueAdapter, ...]:
        """The adapters of these names, due or not.

        Raises:
            NotFoundError: there is none of a name.
        """
        return self._registry.due_adapters(
            measured_before=datetime.now(UTC), fingerprint="", limit=len(names), names=list(names)
        )

    @cached_property
    def tasks(self) -> list[ForgettingTask]:
        """The tasks that the settings name, with their items.

        Raises:
            EvaluationDataError: one is unknown, or its items are missing or broken.
        """
        from lift_core.evaluation.forgetting_tasks import load_tasks
        from lift_core.evaluation.task_data import items_folder

        settings = self._settings
        names = [name.strip() for name in settings.evaluation_tasks.split(",") if name.strip()]
        if not names:
            raise EvaluationDataError("LIFT_EVALUATION_TASKS names no task")
        with tempfile.TemporaryDirectory(prefix="lift-items-") as scratch:
            return load_tasks(
                names,
                folder=items_folder(settings.evaluation_data, self._steps.store, Path(scratch)),
                own_tasks=settings.evaluation_tasks_dir,
                max_items=settings.evaluation_max_items or None,
                margins=settings.evaluation_margins,
            )

    def check_items(self) -> None:
        """See that every task has its items.

        Raises:
            EvaluationDataError: one is unknown, or its items are missing or broken.
        """
        for task in self.tasks:
            self._plan(task)

    @cached_property
    def fingerprint(self) -> str:
        """What a verdict hangs on besides the adapter and its base model: another one makes all due."""
        bodies = [
            (
                task.name,
                task.definition_digest,
                task.data_digest,
                task.accuracy_margin,
                task.log_likelihood_margin,
                [look.items for look in self._plan(task).looks],
            )
            for task in self.tasks
        ]
        body = json.dumps([bodies, self._harness, self._engine("answers"), self._engine("likelihood")])
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    # --- what they lost -----------------------------------------------------------------

    def measure_bases(self, names: Sequence[str], on_progress: Progress = _silent) -> list[str]:
        """Measure the base models of adapters at the first look of every task; returns their names.

        Raises:
            NotFoundError: there is no adapter of a name.
            EvaluationDataError: the tasks or their items are missing or broken.
        """
        from lift_core.evaluation.loading import load_base

        bases = {(each.base_model, each.base_revision) for each in self.known(names)} if names else set()
        for base_model, revision in sorted(bases):
            recipe = Recipe(base_model=base_model, base_revision=revision)
            model, tokenizer = load_base(base_model_folder(recipe, self._settings), self._dtype())
            for task in self.tasks:
                side = self._side(task, recipe, None, model, tokenizer)
                first = self._plan(task).looks[0].items
                for asks in side.measuring:
                    side.ask(task, asks, first, on_progress)
        return [base_model for base_model, _ in sorted(bases)]

    def measure(self, name: str, on_progress: Progress = _silent) -> Measured:
        """Measure an adapter against its base model until every task has decided, or is exhausted.

        Raises:
            NotFoundError: there is no such adapter, or a file of it is not in the store.
            NotServableError: it is removed.
            RefusedFilesError: a file is not the one that was registered.
            ProofError: it does not load whole.
            EvaluationDataError: the tasks or their items are missing or broken.
        """
        from lift_core.evaluation.guarding import measure_task
        from lift_core.evaluation.loading import add_adapter, check_files, load_base
        from lift_core.evaluation.statistics.verdicts import judge_adapter

        adapter = self._registry.adapter(name)
        if adapter.state == "removed":
            raise NotServableError(f"adapter '{name}' is removed: its files are gone", adapter.state)
        recipe = Recipe.model_validate(self._registry.lineage(name).recipe["body"])
        tasks = self.tasks
        with tempfile.TemporaryDirectory(prefix="lift-measure-") as scratch:
            folder = Path(scratch)
            for file in adapter.files:
                self._steps.store.get_file(
                    self._settings.adapters_bucket, f"{adapter.prefix}{file}", folder / file
                )
            try:
                check_files(folder, adapter.files)
            except TransientError as error:
                raise RefusedFilesError(f"adapter '{name}' cannot be measured: {error}") from error
            base, tokenizer = load_base(base_model_folder(recipe, self._settings), self._dtype())
            model = add_adapter(base, folder)
        measurements, subjects = [], {}
        for task in tasks:
            found, by_subject = measure_task(
                task,
                self._side(task, recipe, None, model, tokenizer),
                self._side(task, recipe, adapter, model, tokenizer),
                self._plan(task),
                on_progress,
            )
            measurements += found
            if len(by_subject) > 1:
                subjects[task.name] = by_subject
        return Measured(
            adapter=name,
            base_model=adapter.base_model,
            judgement=judge_adapter(measurements),
            measurements=tuple(measurements),
            subjects=subjects,
            signs=self._signs(adapter, recipe, model, tokenizer, on_progress),
            policy=self._policy(),
        )

    # --- what becomes of them -----------------------------------------------------------

    def judge(
        self, run: str, measured: Sequence[Measured], unmeasured: Mapping[str, str], *, act: bool = True
    ) -> list[AdapterVerdict]:
        """Judge the adapters of a run together, report, record, and act as the policy says.

        ``unmeasured`` has the adapters that could not be measured, with the reason. Without ``act`` a
        regression is alerted and nothing else. Calling it again for a run changes nothing.
        """
        return Judging(self._steps).judge(run, measured, unmeasured, act=act)

    # --- shared -------------------------------------------------------------------------

    def _side(
        self, task: ForgettingTask, recipe: Recipe, adapter: AdapterRecord | None, model: Any, tokenizer: Any
    ) -> Side:
        from lift_core.evaluation.guarding import Side
        from lift_core.evaluation.measuring import Measuring
        from lift_core.evaluation.served_answers import ServedAnswers
        from lift_core.evaluation.shared_prefix import SharedPrefixModel

        scorer = SharedPrefixModel(model, tokenizer)
        settings = self._settings
        name = adapter.name if adapter else recipe.base_model
        writer: Any = scorer
        if settings.evaluation_writer == "vllm":
            if not settings.serving_replicas:
                raise ServiceUnavailableError(
                    "LIFT_EVALUATION_WRITER is vllm, and LIFT_SERVING_URL names no server: set it, or use hf"
                )
            url = settings.serving_replicas[0]
            writer = ServedAnswers(url, settings.serving_api_key.get_secret_value(), name)
        measuring = {}
        for asks in ("both",) if task.chooses else ("likelihood", "answers"):
            conditions = Conditions(
                task=task.name,
                task_digest=task.definition_digest,
                data_digest=task.data_digest,
                harness=self._harness,
                base_model=recipe.base_model,
                base_revision=recipe.base_revision,
                engine=self._engine(asks),
                asks=asks,
            )
            evaluation = self._registry.open_evaluation(conditions, adapter.name if adapter else None)
            measuring[asks] = Measuring(self._registry, self._steps.store, settings.work_bucket, evaluation)
        off = adapter is None and hasattr(model, "disable_adapter")
        return Side(name, model.disable_adapter if off else nullcontext, scorer, writer, measuring)

    def _signs(
        self, adapter: AdapterRecord, recipe: Recipe, model: Any, tokenizer: Any, on_progress: Progress
    ) -> dict[str, float]:
        """The signs of failure on the adapter's own document; none where nothing is to be asked."""
        from lift_core.evaluation.closed_book import answers
        from lift_core.evaluation.failure_signs import choose_questions, failure_signs

        job = self._registry.job_of_run(self._registry.lineage(adapter.name).run["run_id"])
        pairs = choose_questions(
            list(self._steps.committed_pairs(job)), self._settings.evaluation_own_questions, seed=0
        )
        if not pairs:
            return {}
        questions = [pair.question for pair in pairs]

        def ask(what: str) -> list[str]:
            return answers(
                model,
                tokenizer,
                recipe,
                adapter.title,
                questions,
                on_progress=lambda done: on_progress(f"own document, {what}", done, len(questions)),
            )

        ours = ask(adapter.name)
        with model.disable_adapter():
            base = ask(adapter.base_model)
        return failure_signs(pairs, base, ours, self._steps.text_of(adapter.name))

    def _policy(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "fingerprint": self.fingerprint,
            "harness": self._harness,
            "engine": {"answers": self._engine("answers"), "likelihood": self._engine("likelihood")},
            "rate": settings.evaluation_false_discovery_rate,
            "on_regression": settings.evaluation_policy,
            "tasks": {
                task.name: {
                    "items": len(task.items),
                    "data": task.data_digest[:16],
                    "definition": task.definition_digest[:16],
                    "looks": [look.items for look in self._plan(task).looks],
                    "margins": {
                        "accuracy": task.accuracy_margin,
                        "log-likelihood": task.log_likelihood_margin,
                    },
                }
                for task in self.tasks
            },
        }

    def _plan(self, task: ForgettingTask) -> Any:
        from lift_core.evaluation.guarding import plan_of

        return plan_of(task, self._settings.evaluation_items)

    @property
    def _harness(self) -> str:
        return f"lm-eval {version('lm-eval')}"

    def _engine(self, asks: str) -> str:
        if asks == "answers" and self._settings.evaluation_writer == "vllm":
            return "vllm"
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return f"transformers {version('transformers')} {self._settings.evaluation_precision} {device}"

    def _dtype(self) -> Any:
        import torch

        return torch.bfloat16 if self._settings.evaluation_precision == "bf16" else torch.float32

"""What a run found, family by family: verdicts, reports, and what the policy does about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from lift_core.errors import NotFoundError
from lift_core.evaluation_records import Action, AdapterVerdict, Measured
from lift_core.records import Recipe
from lift_core.steps import Steps
from lift_core.store import layout

MILDEST_RATE = 1e-5
"""A learning rate below which an adapter that regressed is not trained again."""
_CONTENT_TYPES = {"html": "text/html", "md": "text/markdown", "svg": "image/svg+xml"}


class Judging:
    """Verdicts over one registry, one object store and one set of settings."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._registry = steps.registry
        self._settings = steps.settings

    def judge(
        self, run: str, measured: Sequence[Measured], unmeasured: Mapping[str, str], *, act: bool
    ) -> list[AdapterVerdict]:
        """Judge the adapters of a run: those of one base model are one family.

        A run that was stopped in the middle is judged to its end by calling it again.
        """
        from lift_core.evaluation.report import render_run
        from lift_core.evaluation.statistics.families import adjusted_p_values

        families: dict[str, list[Measured]] = defaultdict(list)
        for each in measured:
            families[each.base_model].append(each)
        verdicts = []
        for _, family in sorted(families.items()):
            adjusted = adjusted_p_values({each.adapter: each.judgement.p_value for each in family})
            for each in family:
                verdict = self._recorded(run, each.adapter)
                if verdict is None:
                    verdict = self._record(run, each, adjusted[each.adapter], len(family), act)
                self._act(verdict)
                verdicts.append(verdict)
        for name, reason in unmeasured.items():
            self._registry.record_unmeasured(name, run, reason)
        self._put_report(layout.run_report_prefix(run), render_run(run, verdicts, unmeasured))
        return verdicts

    def _recorded(self, run: str, adapter: str) -> AdapterVerdict | None:
        try:
            return self._registry.verdict(adapter, run)
        except NotFoundError:
            return None

    def _record(
        self, run: str, measured: Measured, adjusted: float, family: int, act: bool
    ) -> AdapterVerdict:
        """Write the report, then the verdict that names it."""
        from lift_core.evaluation.report import render

        judgement = measured.judgement
        alerted = adjusted <= self._settings.evaluation_false_discovery_rate
        verdict = AdapterVerdict(
            adapter=measured.adapter,
            run=run,
            base_model=measured.base_model,
            verdict=judgement.verdict,
            sentence=judgement.sentence,
            decided_by=tuple((found.task, found.measure) for found in judgement.decided_by),
            p_value=judgement.p_value,
            adjusted_p_value=adjusted,
            alerted=alerted,
            family=family,
            measurements=measured.measurements,
            subjects=measured.subjects,
            signs=measured.signs,
            policy=measured.policy,
            action=self._action(measured, alerted, act),
            report=layout.report_prefix(run, measured.adapter),
            created_at=datetime.now(UTC),
        )
        history = self._registry.verdicts(measured.adapter)
        title = self._registry.adapter(measured.adapter).title
        self._put_report(str(verdict.report), render(verdict, history, title=title))
        return self._registry.record_verdict(verdict)

    def _action(self, measured: Measured, alerted: bool, act: bool) -> Action:
        if measured.judgement.verdict != "regressed":
            return "alert" if alerted else "none"
        # One that is out of service already cannot be taken out of it.
        in_service = self._registry.adapter(measured.adapter).state == "active"
        return self._settings.evaluation_policy if act and in_service else "alert"

    def _act(self, verdict: AdapterVerdict) -> None:
        """Do what a recorded verdict says; nothing happens where it is done."""
        if verdict.action not in ("quarantine", "retrain"):
            return
        why = f"forgetting: {verdict.sentence} ({verdict.run})"
        # A run that is judged again must not take out what a person has brought back meanwhile.
        done = any(
            event.kind == "adapter.quarantined" and event.detail.get("reason") == why
            for event in self._registry.events(verdict.adapter)
        )
        if not done and self._registry.adapter(verdict.adapter).state == "active":
            self._registry.quarantine(verdict.adapter, why)
        if verdict.action == "retrain":
            self._retrain(verdict)

    def _retrain(self, verdict: AdapterVerdict) -> None:
        """Queue a job with half the rate and half the epochs, while that is still a training."""
        recipe = Recipe.model_validate(self._registry.lineage(verdict.adapter).recipe["body"])
        rate, epochs = recipe.training.learning_rate / 2, max(1, recipe.training.epochs // 2)
        if rate >= MILDEST_RATE:
            training = recipe.training.model_copy(update={"learning_rate": rate, "epochs": epochs})
            self._registry.queue_again(verdict.adapter, recipe.model_copy(update={"training": training}))

    def _put_report(self, prefix: str, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            self._steps.store.put_bytes(
                self._settings.work_bucket,
                f"{prefix}{name}",
                data,
                content_type=_CONTENT_TYPES[name.rsplit(".", 1)[-1]],
            )

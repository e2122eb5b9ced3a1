"""Scheduled: what did the adapters forget? MMLU and GSM8K beside the base model, a verdict, an action."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TriggerRule, get_current_context, task
from lift_airflow import regression
from lift_airflow.placement import placed

with DAG(
    "lift_regression",
    schedule=CronDataIntervalTimetable("0 3 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)} | placed("cpu"),
    params={
        "adapters": Param(
            [], type="array", items={"type": "string"}, description="Measure these; empty: all that are due."
        )
    },
    tags=["lift"],
    doc_md="""
### Forgetting is measured, judged, and acted on

Every day the adapters that are **due** (new, measured under other conditions, or longer ago than
`LIFT_EVALUATION_EVERY_DAYS`) answer the same MMLU and GSM8K items as their base model. A verdict is given
against a margin: `pass`, `regressed`, `undecided`, or `uninformative` where the base knows too little to
lose. `LIFT_EVALUATION_POLICY` says what becomes of one that regressed; a person undoes a quarantine with
`lift adapters release NAME --why …`. The items come from `LIFT_EVALUATION_DATA`, or from the hub.

A **backfill** measures the adapters that were created within its days, due or not; days that ran before
need `--reprocess-behavior completed`. A run started by hand can name adapters. A task that was killed goes on
at the first item that has no result. The report is linked at the task `judge`.
""",
):

    @task(doc_md="The adapters to measure: asked for, created within a backfill's days, or due.")
    def choose() -> list[str]:
        return regression.choose(get_current_context())

    @task(
        pool="lift_evaluate",
        **placed("gpu"),
        doc_md="Measure the base models at the first look; results that are there are not asked again.",
    )
    def measure_bases(names: list[str]) -> list[str]:
        return regression.measure_bases(names)

    @task(
        pool="lift_evaluate",
        **placed("gpu"),
        map_index_template="{{ name }}",
        doc_md="Ask an adapter the items its base model was asked, look by look, until the verdict is clear.",
    )
    def measure(name: str) -> dict[str, Any]:
        get_current_context()["name"] = name  # type: ignore[typeddict-unknown-key]
        return regression.measure(name)

    chosen = choose()
    measured = measure.expand(name=chosen)
    judged = regression.JudgeOperator(
        task_id="judge",
        python_callable=regression.judge,
        op_args=[chosen, measured, "{{ run_id }}"],
        # Broken items fail `choose`: then there is nothing to judge.
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        doc_md="Judge the run's adapters as one family, write the reports, record the verdicts, act.",
    )
    measure_bases(chosen) >> measured >> judged

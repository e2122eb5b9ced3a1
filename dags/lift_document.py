"""One run per job: claim → split → (generate ∥ train) → prove → activate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task
from lift_airflow import alerts, steps
from lift_airflow.placement import placed
from lift_airflow.training import TrainOperator

# A service that is away is waited for within a try; these are for what else may pass (docs/failure.md).
RETRIES = {
    "retries": 5,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=2),
    "on_failure_callback": steps.record_failure,
}
ON_GPU = placed("gpu")

with DAG(
    "lift_document",
    schedule=None,
    catchup=False,
    max_active_runs=16,
    default_args=RETRIES | placed("cpu"),
    on_failure_callback=alerts.notify_failure,
    tags=["lift"],
    doc_md="""
### A document becomes an adapter

`generate` and `train` run **side by side**: training is deferred until the first shard of pairs is there.
A run that failed can be cleared: what it had committed stays, the rest is done anew. `lift docs show
<document>` tells the same story; the run's id reads `<document>-v<version>-<recipe>-g<generation>`.
""",
):

    @task(doc_md="Make the job this run's own, download the object, check that it can be read.")
    def claim() -> dict[str, Any]:
        return steps.claim(get_current_context())

    @task(doc_md="Cut the text into segments, as the recipe says.")
    def split(claimed: dict[str, Any]) -> int:
        return steps.run_step("split", claimed, get_current_context())

    @task(
        pool="lift_generate",
        doc_md="Ask the generator for question-answer pairs, segment by segment, judge them, and commit "
        "them as shards. A retry goes on at the first segment that has no shard.",
    )
    def generate(claimed: dict[str, Any]) -> dict[str, Any]:
        return steps.run_step("generate", claimed, get_current_context())

    @task(
        pool="lift_train",
        **ON_GPU,
        doc_md="Load the adapter from its files: it must change the output and beat the base model on "
        "pairs that were held out from training.",
    )
    def prove(claimed: dict[str, Any]) -> dict[str, float]:
        return steps.run_step("prove", claimed, get_current_context())

    @task(doc_md="Let the adapter serve: the document's aliases move to it in one transaction.")
    def activate(claimed: dict[str, Any]) -> str:
        return steps.run_step("activate", claimed, get_current_context())

    claimed = claim()
    segments = split(claimed)
    generated = generate(claimed)
    trained = TrainOperator(
        task_id="train",
        pool="lift_train",
        claimed=claimed,
        **ON_GPU,
        doc_md="Train the LoRA adapter on the shards as they come, from the first on; store it as candidate.",
    )
    segments >> [generated, trained] >> prove(claimed) >> activate(claimed)

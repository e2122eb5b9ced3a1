"""Every five minutes: is every job's run alive? Once a day: what does nothing refer to any more?"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param, get_current_context, task
from lift_airflow import housekeeping
from lift_airflow.placement import placed

with DAG(
    "lift_housekeeping",
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)} | placed("cpu"),
    params={"clean": Param(False, type="boolean", description="Clean the store now, not at four o'clock.")},
    tags=["lift"],
    doc_md="""
### Nothing stays under way that is dead

`reconcile` compares the registry's jobs with the runs of `lift_document`. A job whose run failed, ended
without ending it, or is gone is **run again** under the same id, at most `LIFT_RERUNS` times; then it fails
with a reason. Attempts without a sign of life for `LIFT_LEASE_SECONDS` are ended. What failed for good is
left to a person: clear its run, or `lift docs retry`.

`clean` runs once a day, and with `clean=true`: objects that nothing refers to are deleted
(`lift registry gc` tells which), and old deliveries of webhooks are forgotten.
""",
):

    @task(doc_md="Compare jobs with runs. Returns one start for each run that is to begin again.")
    def reconcile() -> list[dict[str, str]]:
        return housekeeping.reconcile(get_current_context())

    @task(doc_md="Delete the store's orphans, forget old deliveries. Skipped but for once a day.")
    def clean() -> dict[str, int]:
        return housekeeping.clean(get_current_context())

    TriggerDagRunOperator.partial(
        task_id="start_again",
        trigger_dag_id="lift_document",
        reset_dag_run=True,
        map_index_template="{{ task.trigger_run_id }}",
        doc_md="Clear and start each of these runs of `lift_document`; one that is gone is made anew.",
    ).expand_kwargs(reconcile())
    clean()

"""Woken by the bucket or by the clock: list the inbox, record what is new, start what may start."""

from __future__ import annotations

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, task
from lift_airflow.bucket_trigger import BucketTrigger

inbox = Asset(
    "lift_inbox",
    uri="lift://inbox",
    watchers=[AssetWatcher(name="bucket", trigger=BucketTrigger())],
)

with DAG(
    "lift_dispatch",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("* * * * *", timezone="UTC"), assets=[inbox]),
    catchup=False,
    max_active_runs=1,
    tags=["lift"],
    doc_md="""
### Documents arrive

An event of the inbox bucket, or the clock each minute, only says that it is worth looking: this run
**lists the bucket**, records what is new in the registry, and admits a bounded number of jobs
(`LIFT_MAX_ACTIVE_JOBS`), oldest first. Each admitted job becomes one run of `lift_document`, whose id
names the document, its version, the recipe and the generation: `report-v2-1a2b3c4d-g1`.
A repeated start of the same run is refused by Airflow itself.
""",
):

    @task(doc_md="List the inbox, record arrivals, admit jobs. Returns one start for each admitted job.")
    def admit() -> list[dict[str, str]]:
        from lift_core.steps import Steps

        admitted = Steps.connect().dispatch()
        print(f"admitted {len(admitted)}: {', '.join(job.run_id for job in admitted) or 'nothing to do'}")
        return [{"trigger_run_id": job.run_id} for job in admitted]

    TriggerDagRunOperator.partial(
        task_id="start_document",
        trigger_dag_id="lift_document",
        skip_when_already_exists=True,
        map_index_template="{{ task.trigger_run_id }}",
        doc_md="Start one run of `lift_document` for each admitted job.",
    ).expand_kwargs(admit())

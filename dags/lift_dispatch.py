"""Woken by the bucket, the queue or the clock: list the inbox, record what is new, start what may start."""

from __future__ import annotations

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, task
from lift_airflow.bucket_trigger import BucketTrigger
from lift_airflow.placement import placed
from lift_airflow.queue_trigger import QueueTrigger

inbox = Asset(
    "lift_inbox",
    uri="lift://inbox",
    watchers=[
        AssetWatcher(name="bucket", trigger=BucketTrigger()),
        AssetWatcher(name="queue", trigger=QueueTrigger()),
    ],
)

with DAG(
    "lift_dispatch",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("* * * * *", timezone="UTC"), assets=[inbox]),
    catchup=False,
    max_active_runs=1,
    default_args=placed("cpu"),
    tags=["lift"],
    doc_md="""
### Documents arrive

A change of the inbox bucket, a job that waits while a slot is free, or the clock each minute only say that
it is worth looking: this run **lists the bucket**, records what is new in the registry, and admits jobs, so
that at most `LIFT_MAX_ACTIVE_JOBS` documents are under way. The order: the tenant (`LIFT_TENANTS`) with the
fewest documents under way, then the highest `lift-priority`, then the first to arrive. Each admitted job
becomes one run of `lift_document`, whose id names the document, its version, the recipe and the generation:
`report-v2-1a2b3c4d-g1`. A repeated start of the same run is refused by Airflow itself.
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
